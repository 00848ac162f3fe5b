"""The service proxy: Services and EndpointSlices turned into packet rules; mirrors kube-proxy."""
