"""Makes volumes for claims: directories of this machine, and volumes of the Docker Engine's volume drivers.

Owns the default storage class, the directories `<data dir>/volumes/pvc-<uid>`, the snapshots in `<data dir>/snapshots`,
this cluster's volumes on the Engine and the PersistentVolumes that stand for them; never binds a claim (the volume
binder does) and never mounts (the kubelets do). Mirrors an external provisioner, resizer and snapshotter.

    plan                 pure: what a claim gets, when a volume ends, how it grows
    backend              what the controller needs to know of a kind of volumes
    directory_backend    directories: which claims they suit, and what leads to them
    directories          makes, copies and removes directories; never leaves its own folder
    copying              the copy of a tree, as a program of its own
    directory_snapshots  snapshots of directories, below a folder of their own
    docker_backend       volumes of Docker's volume drivers
    provisioner          the controller, for all backends
    snapshots            volume snapshots: the controller of their kinds, and restoring
"""
