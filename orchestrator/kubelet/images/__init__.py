"""Images on a node: pulled, kept, collected, and who may use them. Mirrors pkg/kubelet/images."""
