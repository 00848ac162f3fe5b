"""The store: every object of the cluster under one global revision; mirrors etcd behind kube-apiserver."""
