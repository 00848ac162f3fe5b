"""What a node may do: mirrors kube-apiserver's node authorizer (the graph of what a node's pods refer to).

The companion admission plugin, NodeRestriction, looks at what a node writes; it is in `apiserver.admission`.
"""
