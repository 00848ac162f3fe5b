"""Claims get volumes, volumes lose claims. Mirrors persistentvolume-binder-controller.

`plan` decides what a claim and a volume need, `controller` applies it. The first is pure. Volumes are
made by administrators or by provisioners that run in the cluster; no storage is touched here.
"""

from orchestrator.controllers.persistentvolume.controller import PersistentVolumeBinder

__all__ = ["PersistentVolumeBinder"]
