"""The built-in plugins, named as in kube-scheduler; each decides by one factor."""
