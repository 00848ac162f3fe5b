"""The kubelet: runs the pods that are bound to one node, and reports about them."""
