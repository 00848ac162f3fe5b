"""The API server: HTTPS in front of the store; mirrors kube-apiserver."""
