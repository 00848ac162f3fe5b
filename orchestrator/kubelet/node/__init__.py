"""The node itself: its Node and Lease, its runtime's health, its heartbeat and its end.

Mirrors pkg/kubelet/nodestatus and pkg/kubelet/nodeshutdown.
"""
