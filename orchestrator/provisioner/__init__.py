"""Makes volumes for claims: directories of this machine, below the data dir.

Owns the default storage class, the directories `<data dir>/volumes/pvc-<uid>` and the PersistentVolumes that stand
for them; never binds a claim (the volume binder does) and never mounts (the kubelets do). Mirrors an external
provisioner and resizer, such as the local-path-provisioner together with the external-resizer.

    plan         pure: what a claim gets, when a volume ends, how it grows
    directories  makes, copies and removes directories; never leaves its own folder
    provisioner  the controller
"""
