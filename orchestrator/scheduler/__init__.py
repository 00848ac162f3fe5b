"""The scheduler: picks a node for every pending pod; mirrors kube-scheduler."""
