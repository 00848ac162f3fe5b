"""The kind of the group apiextensions.k8s.io: CustomResourceDefinition."""
