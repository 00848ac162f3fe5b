"""The messages of a CSI driver's node service.

https://github.com/container-storage-interface/spec/blob/master/csi.proto
"""

from __future__ import annotations

from orchestrator.kubelet.plugins.messages import declare

_PUBLISHED = {"volume_id": "1 string", "publish_context": "2 map string", "staging_target_path": "3 string"}

MESSAGES = declare(
    "csi.v1",
    {
        "BlockVolume": {},
        "MountVolume": {"fs_type": "1 string", "mount_flags": "2 repeated string", "volume_mount_group": "3 string"},
        "AccessMode": {"mode": "1 int32"},
        "VolumeCapability": {"block": "1 BlockVolume", "mount": "2 MountVolume", "access_mode": "3 AccessMode"},
        "NodeStageVolumeRequest": {
            **_PUBLISHED,
            "volume_capability": "4 VolumeCapability",
            "secrets": "5 map string",
            "volume_context": "6 map string",
        },
        "NodeStageVolumeResponse": {},
        "NodeUnstageVolumeRequest": {"volume_id": "1 string", "staging_target_path": "2 string"},
        "NodeUnstageVolumeResponse": {},
        "NodePublishVolumeRequest": {
            **_PUBLISHED,
            "target_path": "4 string",
            "volume_capability": "5 VolumeCapability",
            "readonly": "6 bool",
            "secrets": "7 map string",
            "volume_context": "8 map string",
        },
        "NodePublishVolumeResponse": {},
        "NodeUnpublishVolumeRequest": {"volume_id": "1 string", "target_path": "2 string"},
        "NodeUnpublishVolumeResponse": {},
        "NodeGetVolumeStatsRequest": {
            "volume_id": "1 string",
            "volume_path": "2 string",
            "staging_target_path": "3 string",
        },
        "VolumeUsage": {"available": "1 int64", "total": "2 int64", "used": "3 int64", "unit": "4 int32"},
        "NodeGetVolumeStatsResponse": {"usage": "1 repeated VolumeUsage"},
        "CapacityRange": {"required_bytes": "1 int64", "limit_bytes": "2 int64"},
        "NodeExpandVolumeRequest": {
            "volume_id": "1 string",
            "volume_path": "2 string",
            "capacity_range": "3 CapacityRange",
            "staging_target_path": "4 string",
            "volume_capability": "5 VolumeCapability",
            "secrets": "6 map string",
        },
        "NodeExpandVolumeResponse": {"capacity_bytes": "1 int64"},
        "NodeGetCapabilitiesRequest": {},
        "RPC": {"type": "1 int32"},
        "NodeServiceCapability": {"rpc": "1 RPC"},
        "NodeGetCapabilitiesResponse": {"capabilities": "1 repeated NodeServiceCapability"},
        "NodeGetInfoRequest": {},
        "Topology": {"segments": "1 map string"},
        "NodeGetInfoResponse": {
            "node_id": "1 string",
            "max_volumes_per_node": "2 int64",
            "accessible_topology": "3 Topology",
        },
    },
)
