"""The devices of a node's pods: who has them, who made them ready, and what of them containers see.

    manager            what the kubelet asks for, for one pod or container
    plugins            device plugins and the account of what containers have of them
    plugin_api         what is called of them, and what they call
    registration_socket where they register
    allocation         which devices a container gets
    claims             devices of ResourceClaims: prepared by their drivers, noted in a checkpoint
    claim_drivers      drivers of such devices: registered, connected or gone
    claim_health       what drivers say of the health of such devices
    claim_driver_api   what is called of them
    pod_resources      the pod resources API
    pod_resources_api  its messages
    slices             ResourceSlices that go with their drivers
    cdi                descriptions of devices (Container Device Interface)
    injection          what is added to a container

Mirrors pkg/kubelet/cm/dra and devicemanager, and what container runtimes do with CDI.
"""
