"""The controllers: level-triggered loops that bring actual state to desired state; mirrors kube-controller-manager."""
