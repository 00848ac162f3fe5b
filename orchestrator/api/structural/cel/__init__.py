"""CEL rules (`x-kubernetes-validations`): types, Kubernetes' function library, compilation, evaluation."""
