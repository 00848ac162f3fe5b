"""Admission: what the cluster's state adds to an object, or forbids about it.

Mirrors kube-apiserver's admission chain: mutating plugins run after defaulting, validating ones
after validation, each only for the operations it names. See `admission.plugin` for the seam.
"""
