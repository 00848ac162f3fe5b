"""The controllers of kube-controller-manager, one small module each on the one base class.

`registry` names them all; `plan_*` functions decide and know nothing of I/O; `reconcile` reads
caches, applies a plan through the client and reports status and events.
"""
