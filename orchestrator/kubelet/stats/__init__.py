"""What the pods of a node use, and how the kubelet tells it: Summary, Prometheus text, `NodeUsage`."""
