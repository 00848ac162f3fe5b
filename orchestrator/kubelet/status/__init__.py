"""What a pod's status says, and its writing. Mirrors pkg/kubelet/status."""
