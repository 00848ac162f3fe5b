"""Volume snapshots: the controller for the kinds of `snapshot.storage.k8s.io`, and what restoring one takes.

Owns VolumeSnapshotContents of the directory driver and the finalizers that keep sources until they are copied; never
makes volumes (the provisioner does, also from snapshots). The kinds are definitions that a user applies, those of
config/snapshots/ or the upstream ones; until they are there nothing here costs more than three idle watches. Mirrors
the snapshot-controller and csi-snapshotter of kubernetes-csi/external-snapshotter.

    plan          pure: classes, contents, statuses, finalizers, ends
    restoring     pure: which snapshot a claim begins with, or why it cannot
    definitions   whether the kinds are served
    controller    the controller of snapshots and contents
"""
