"""The kubelet: runs the pods that are bound to one node, and reports about them.

Where to begin: `kubelet` hears that something about a pod has changed and calls `syncer`, which asks `plan` what to do
and carries it out with the parts below, through the seam `runtime`.

    kubelet, nodes       the tasks of one node; all nodes of a process
    node/                the Node object and its lease, the runtime's health, the heartbeat, the node's end
    syncer, plan         one pod: the order of the work on it, and the decision
    record, holds        what is remembered of a pod; why a container waits
    pod, runtime_pods    reading a Pod, and what the runtime holds of it; `ghosts` stand in for what it has lost
    parts                the seams between all of these
    admission/           whether the node takes a pod
    images/              pulling, keeping and collecting images
    volumes/             volumes and the other files of pods; csi/ has those of CSI drivers
    plugins/, devices/   drivers that register with the kubelet; the devices that containers get from them
    resources/, cgroups/ CPU and memory: amounts and resizes; the kernel's groups
    containers/          one container: its configuration, start and stop
    probes/              probes
    status/              what a pod's status says
    eviction/            what happens under pressure
    static_pods/         pods from manifests in a folder
    server/, stats/      port 10250, and the usage that it tells
    built_in/            what runs in this process, shown as pods
    runtime              the seam to what runs containers (as CRI): `docker/`, or `hollow` without containers
    network/             networks of pods on bridges of our own; `docker/network/` has those without root
"""
