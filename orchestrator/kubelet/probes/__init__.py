"""Probes of containers, and the requests that probes and hooks make. Mirrors pkg/kubelet/prober and pkg/probe."""
