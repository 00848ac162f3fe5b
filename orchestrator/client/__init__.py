"""Access to a Kubernetes API: one client, one transport seam (in process or HTTPS), informers on top."""
