"""One container: what it is made from, how it starts, how it stops. Mirrors pkg/kubelet/kuberuntime."""
