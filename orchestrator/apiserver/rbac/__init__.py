"""Role-based access control: who may do what, from Roles, ClusterRoles and their bindings.

Mirrors kube-apiserver's RBAC authorizer, its default policy and its protection against privilege
escalation. `rules` holds the pure decisions, `policy` the current roles and bindings by subject,
`authorizer` answers requests, `defaults` is what a fresh cluster contains, `reconciliation` puts
that into the store.
"""
