"""Volumes of CSI drivers are attached where pods need them. Mirrors persistentvolume-attach-detach-controller.

`plan` decides for one node what to attach and detach, `controller` applies it as VolumeAttachments. The first is pure.
Attaching itself is the work of the driver's external attacher.
"""

from orchestrator.controllers.attachdetach.controller import AttachDetachController

__all__ = ["AttachDetachController"]
