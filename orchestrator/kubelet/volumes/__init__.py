"""Volumes and the other files that a node gives to its pods. Mirrors pkg/kubelet/volumemanager and pkg/volume."""
