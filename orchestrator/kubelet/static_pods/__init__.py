"""Pods from the manifests in a node's folder, and the mirrors that show them in the API. Mirrors pkg/kubelet/config."""
