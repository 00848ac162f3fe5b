"""Volumes of CSI drivers that run on a node, as pods of it. Mirrors pkg/volume/csi.

    drivers      who registered, and what the API is told of it; `attach_limits` asks again
    plan         pure: paths, capabilities, what drivers are asked, who may use a volume
    driver       the calls of one driver; `messages` are what they carry
    attachments  what is in use on the node and attached to it
    records      what was published for a pod, on the disk, for a process that starts anew
    volumes      brings volumes up and down in the right order
    credentials  secrets and tokens that drivers get
    expansion    volumes that became larger
    usage        what they hold
    node         puts the parts together

A path that a driver is told is the one of its own container (`node_paths`). gRPC is loaded with the first driver.
"""
