"""Cluster DNS: Services and EndpointSlices turned into a zone; mirrors CoreDNS with its kubernetes plugin."""
