"""What a node does when memory, disk or processes run out. Mirrors pkg/kubelet/eviction."""
