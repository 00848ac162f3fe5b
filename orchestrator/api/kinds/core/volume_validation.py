"""Which volumes of a pod are valid.

Mirrors ValidateVolumes of k8s.io/kubernetes/pkg/apis/core/validation. A volume has one source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.core.field_references import (
    VOLUME_FIELDS,
    validate_field_reference,
    validate_resource_reference,
)
from orchestrator.api.kinds.core.resource_names import parsed

_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
DEPRECATED_SOURCES = (
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
)
"""Sources whose drivers are gone or on their way: key, the name that a warning has for it, what it says."""
_MIN_TOKEN_SECONDS = 600
_MAX_TOKEN_SECONDS = 1 << 32


def validate_no_backsteps(path_value: str, path: str) -> list[Cause]:
    """No `..` as a part of the path."""
    if ".." in path_value.split("/"):
        return [fields.invalid(path, path_value, "must not contain '..'")]
    return []


def validate_local_descending_path(path_value: str, path: str) -> list[Cause]:
    """Relative, and not upwards."""
    causes: list[Cause] = []
    if path_value.startswith("/"):
        causes.append(fields.invalid(path, path_value, "must be a relative path"))
    return causes + validate_no_backsteps(path_value, path)


def validate_local_non_reserved_path(path_value: str, path: str) -> list[Cause]:
    """Descending, and its first part does not begin with `..`."""
    causes = validate_local_descending_path(path_value, path)
    if path_value.startswith("..") and not path_value.startswith("../"):
        causes.append(fields.invalid(path, path_value, "must not start with '..'"))
    return causes


def _validate_mode(holder: dict[str, Any], key: str, path: str) -> list[Cause]:
    mode = holder.get(key)
    if mode is not None and not 0 <= mode <= 0o777:
        return [fields.invalid(f"{path}.{key}", mode, _MODE)]
    return []


def _required(holder: dict[str, Any], path: str, *keys: str) -> list[Cause]:
    return [fields.required(f"{path}.{key}") for key in keys if not holder.get(key)]


def _validate_items(holder: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for position, item in enumerate(holder.get("items") or ()):
        where = fields.index(f"{path}.items", position)
        if not item.get("key"):
            causes.append(fields.required(f"{where}.key"))
        if not item.get("path"):
            causes.append(fields.required(f"{where}.path"))
        else:
            causes += validate_local_non_reserved_path(item["path"], f"{where}.path")
        causes += _validate_mode(item, "mode", where)
    return causes


def _empty_dir(source: dict[str, Any], path: str) -> list[Cause]:
    if source.get("sizeLimit") is not None and parsed(source["sizeLimit"]).sign() < 0:
        return [fields.forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def validate_host_path(source: dict[str, Any], path: str) -> list[Cause]:
    """A path of the node."""
    if not source.get("path"):
        return [fields.required(f"{path}.path")]
    causes = validate_no_backsteps(source["path"], f"{path}.path")
    if source.get("type") is not None and source["type"] not in _HOST_PATH_TYPES:
        causes.append(fields.not_supported(f"{path}.type", source["type"], _HOST_PATH_TYPES))
    return causes


def _git_repo(source: dict[str, Any], path: str) -> list[Cause]:
    causes = _required(source, path, "repository")
    if source.get("directory"):
        causes += validate_local_descending_path(source["directory"], f"{path}.directory")
    return causes


def _secret(source: dict[str, Any], path: str) -> list[Cause]:
    return (
        _required(source, path, "secretName")
        + _validate_mode(source, "defaultMode", path)
        + _validate_items(source, path)
    )


def _config_map(source: dict[str, Any], path: str) -> list[Cause]:
    return _required(source, path, "name") + _validate_mode(source, "defaultMode", path) + _validate_items(source, path)


def validate_nfs(source: dict[str, Any], path: str) -> list[Cause]:
    """Server and absolute path."""
    causes = _required(source, path, "server", "path")
    if source.get("path") and not source["path"].startswith("/"):
        causes.append(fields.invalid(f"{path}.path", source["path"], "must be an absolute path"))
    return causes


def _iscsi(source: dict[str, Any], path: str) -> list[Cause]:
    causes = _required(source, path, "targetPortal", "iqn")
    lun = source.get("lun") or 0
    if not 0 <= lun <= 255:
        causes.append(fields.invalid(f"{path}.lun", lun, names.range_message(0, 255)))
    return causes


def _downward_api(source: dict[str, Any], path: str) -> list[Cause]:
    causes = _validate_mode(source, "defaultMode", path)
    for position, file in enumerate(source.get("items") or ()):
        causes += _downward_file(file, fields.index(f"{path}.items", position))
    return causes


def _downward_file(file: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    if not file.get("path"):
        causes.append(fields.required(f"{path}.path"))
    causes += validate_local_non_reserved_path(file.get("path") or "", f"{path}.path")
    field, resource = file.get("fieldRef"), file.get("resourceFieldRef")
    if field is not None:
        causes += validate_field_reference(field, VOLUME_FIELDS, f"{path}.fieldRef")
        if resource is not None:
            causes.append(
                fields.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
            )
    elif resource is not None:
        causes += validate_resource_reference(resource, f"{path}.resourceFieldRef", is_volume=True)
    else:
        causes.append(fields.required(path, "one of fieldRef and resourceFieldRef is required"))
    return causes + _validate_mode(file, "mode", path)


def _claim(source: dict[str, Any], path: str) -> list[Cause]:
    return _required(source, path, "claimName")


def _projected(source: dict[str, Any], path: str) -> list[Cause]:
    causes = _validate_mode(source, "defaultMode", path)
    all_paths: set[str] = set()
    for position, part in enumerate(source.get("sources") or ()):
        where = fields.index(f"{path}.sources", position)
        seen = 0
        for key in ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle"):
            value = part.get(key)
            if value is None:
                continue
            seen += 1
            spot = f"{where}.{key}"
            if seen > 1:
                causes.append(fields.forbidden(spot, "may not specify more than 1 volume type per source"))
                continue
            paths: list[str] = [item["path"] for item in value.get("items") or () if item.get("path")]
            if key in ("secret", "configMap"):
                causes += _required(value, spot, "name") + _validate_items(value, spot)
            elif key == "downwardAPI":
                for number, file in enumerate(value.get("items") or ()):
                    causes += _downward_file(file, fields.index(spot, number))
            elif key == "serviceAccountToken":
                seconds = value.get("expirationSeconds")
                if seconds is not None and seconds < _MIN_TOKEN_SECONDS:
                    causes.append(
                        fields.invalid(
                            f"{spot}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"
                        )
                    )
                if seconds is not None and seconds > _MAX_TOKEN_SECONDS:
                    causes.append(
                        fields.invalid(
                            f"{spot}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"
                        )
                    )
                causes += _required(value, spot, "path")
                if value.get("path"):
                    causes += validate_local_non_reserved_path(value["path"], f"{spot}.path")
                    paths = [value["path"]]
            else:
                causes += _required(value, spot, "path")
                if not value.get("name") and not value.get("signerName"):
                    causes.append(fields.required(spot, "either name or signerName must be specified"))
                if value.get("path"):
                    causes += validate_local_non_reserved_path(value["path"], f"{spot}.path")
                    paths = [value["path"]]
            for target in paths:
                if target in all_paths:
                    causes.append(fields.invalid(path, target, "conflicting duplicate paths"))
                all_paths.add(target)
        if not seen:
            causes.append(fields.required(where, "must specify a volume type"))
    return causes


def validate_csi_driver_name(name: str, path: str) -> list[Cause]:
    """The name of a CSI driver: a DNS name of at most 63 bytes."""
    if not name:
        return [fields.required(path)]
    causes: list[Cause] = []
    if len(name.encode()) > 63:
        causes.append(fields.too_long(path, 63))
    return causes + [fields.invalid(path, name, text) for text in names.is_dns1123_subdomain(name.lower())]


def _csi(source: dict[str, Any], path: str) -> list[Cause]:
    causes = validate_csi_driver_name(source.get("driver") or "", f"{path}.driver")
    reference = source.get("nodePublishSecretRef")
    if reference is not None and not reference.get("name"):
        causes.append(fields.required(f"{path}.nodePublishSecretRef.name"))
    return causes


def _ephemeral(source: dict[str, Any], path: str) -> list[Cause]:
    template = source.get("volumeClaimTemplate")
    if template is None:
        return [fields.required(f"{path}.volumeClaimTemplate")]
    from orchestrator.api.kinds.core.persistent_volume_claim import validate_claim_spec

    return validate_claim_spec(template.get("spec") or {}, f"{path}.volumeClaimTemplate.spec")


def _image(source: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    policy = source.get("pullPolicy") or ""
    if policy not in ("Always", "IfNotPresent", "Never"):
        causes.append(fields.not_supported(f"{path}.pullPolicy", policy, ("Always", "IfNotPresent", "Never")))
    if not source.get("reference"):
        causes.append(fields.required(f"{path}.reference"))
    return causes


def _needs(*keys: str) -> Callable[[dict[str, Any], str], list[Cause]]:
    return lambda source, path: _required(source, path, *keys)


# Simplified: of the sources of removed in-tree drivers only the required fields are checked.
_SOURCES: tuple[tuple[str, Callable[[dict[str, Any], str], list[Cause]]], ...] = (
    ("emptyDir", _empty_dir),
    ("hostPath", validate_host_path),
    ("gitRepo", _git_repo),
    ("gcePersistentDisk", _needs("pdName")),
    ("awsElasticBlockStore", _needs("volumeID")),
    ("secret", _secret),
    ("nfs", validate_nfs),
    ("iscsi", _iscsi),
    ("glusterfs", _needs("endpoints", "path")),
    ("flocker", _needs()),
    ("rbd", _needs("monitors", "image")),
    ("cinder", _needs("volumeID")),
    ("cephfs", _needs("monitors")),
    ("quobyte", _needs("registry", "volume")),
    ("downwardAPI", _downward_api),
    ("fc", _needs()),
    ("configMap", _config_map),
    ("azureFile", _needs("secretName", "shareName")),
    ("flexVolume", _needs("driver")),
    ("persistentVolumeClaim", _claim),
    ("vsphereVolume", _needs("volumePath")),
    ("azureDisk", _needs("diskName", "diskURI")),
    ("photonPersistentDisk", _needs("pdID")),
    ("portworxVolume", _needs("volumeID")),
    ("scaleIO", _needs("gateway", "system", "volumeName")),
    ("projected", _projected),
    ("storageos", _needs()),
    ("csi", _csi),
    ("ephemeral", _ephemeral),
    ("image", _image),
)


def validate_volume_sources(
    volume: dict[str, Any],
    path: str,
    sources: tuple[tuple[str, Callable[[dict[str, Any], str], list[Cause]]], ...] = _SOURCES,
) -> list[Cause]:
    """Exactly one source, and that one valid."""
    causes: list[Cause] = []
    found = False
    for key, check in sources:
        source = volume.get(key)
        if source is None:
            continue
        if found:
            causes.append(fields.forbidden(f"{path}.{key}", "may not specify more than 1 volume type"))
            continue
        found = True
        causes += check(source, f"{path}.{key}")
    if not found:
        causes.append(fields.required(path, "must specify a volume type"))
    return causes


def validate_volumes(volumes: list[dict[str, Any]], path: str) -> tuple[list[Cause], dict[str, dict[str, Any]]]:
    """(what is wrong with names and sources of a pod's volumes, the volumes that mounts can name)."""
    causes: list[Cause] = []
    seen: dict[str, dict[str, Any]] = {}
    for position, volume in enumerate(volumes):
        where = fields.index(path, position)
        name = volume.get("name") or ""
        found = validate_volume_sources(volume, where)
        if not name:
            found.append(fields.required(f"{where}.name"))
        else:
            found += [fields.invalid(f"{where}.name", name, text) for text in names.is_dns1123_label(name)]
        if name in seen:
            found.append(fields.duplicate(f"{where}.name", name))
        if not found:
            seen[name] = volume
        causes += found
    return causes, seen
