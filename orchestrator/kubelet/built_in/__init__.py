"""The pods of `kube-system` that show the components of this process; nothing of them runs in a container."""
