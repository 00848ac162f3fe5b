"""What a kubelet answers on port 10250: streams of containers, and its pages. Mirrors pkg/kubelet/server."""
