"""Whether a node takes a pod that was bound to it. Mirrors pkg/kubelet/lifecycle, allocation and preemption."""
