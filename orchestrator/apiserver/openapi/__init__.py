"""OpenAPI: every path and every type that this server has, as `/openapi/v3` and `/openapi/v2` publish them.

Pure functions from kinds to documents: `definitions` of types, `parameters`, `operations` and `paths`, whole
`documents`; `merging` with those of other servers, and their form as `protobuf`. Mirrors k8s.io/kube-openapi's
builders (KEP-2896 for v3) and apiextensions-apiserver's `pkg/controller/openapi/builder`.

Simplified: the v3 documents carry no `default` that only says the zero value of a Go field.
"""
