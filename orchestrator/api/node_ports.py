"""The ports that Kubernetes' own programs have on every node (docs, "Ports and Protocols")."""

KUBE_PROXY_STATUS = 10249
"""kube-proxy's `metricsBindAddress`: on the loopback only."""
KUBE_PROXY_HEALTH = 10256
"""kube-proxy's `healthzBindAddress`: on every address of the node."""
KUBELET = 10250
"""The kubelet's `port`: on every address of the node."""
