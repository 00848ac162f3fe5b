"""Messages of the pod resources API (v1), on which monitors ask a kubelet who has which devices.

https://github.com/kubernetes/kubelet/blob/master/pkg/apis/podresources/v1/api.proto
"""

from __future__ import annotations

from orchestrator.kubelet.plugins.messages import declare

SERVICE = "/v1.PodResourcesLister"
MESSAGES = declare(
    "v1",
    {
        "AllocatableResourcesRequest": {},
        "AllocatableResourcesResponse": {
            "devices": "1 repeated ContainerDevices",
            "cpu_ids": "2 repeated int64",
            "memory": "3 repeated ContainerMemory",
        },
        "ListPodResourcesRequest": {},
        "ListPodResourcesResponse": {"pod_resources": "1 repeated PodResources"},
        "GetPodResourcesRequest": {"pod_name": "1 string", "pod_namespace": "2 string"},
        "GetPodResourcesResponse": {"pod_resources": "1 PodResources"},
        "PodResources": {"name": "1 string", "namespace": "2 string", "containers": "3 repeated ContainerResources"},
        "ContainerResources": {
            "name": "1 string",
            "devices": "2 repeated ContainerDevices",
            "cpu_ids": "3 repeated int64",
            "memory": "4 repeated ContainerMemory",
            "dynamic_resources": "5 repeated DynamicResource",
        },
        "ContainerMemory": {"memory_type": "1 string", "size": "2 uint64", "topology": "3 TopologyInfo"},
        "ContainerDevices": {
            "resource_name": "1 string",
            "device_ids": "2 repeated string",
            "topology": "3 TopologyInfo",
        },
        "TopologyInfo": {"nodes": "1 repeated NUMANode"},
        "NUMANode": {"ID": "1 int64"},
        "DynamicResource": {
            "claim_name": "2 string",
            "claim_namespace": "3 string",
            "claim_resources": "4 repeated ClaimResource",
        },
        "ClaimResource": {
            "cdi_devices": "1 repeated CDIDevice",
            "driver_name": "2 string",
            "pool_name": "3 string",
            "device_name": "4 string",
        },
        "CDIDevice": {"name": "1 string"},
    },
)
