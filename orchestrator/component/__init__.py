"""What all components share: the controller's shape, events, supervision, metrics, leases, kubelet's API."""
