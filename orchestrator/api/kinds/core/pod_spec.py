"""Defaults of a pod's spec and of pod templates: what every workload kind fills in alike.

Mirrors k8s.io/kubernetes/pkg/apis/core/v1/defaults.go. Validation is in pod_spec_validation.py.
"""

from __future__ import annotations

from typing import Any

from orchestrator.api.kinds.defaulting import canonical_quantities, canonical_quantity, fill, fill_empty, items, struct
from orchestrator.api.pod_resources import POD_LEVEL_RESOURCES, container_amounts

CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")


def image_tag(image: str) -> str:
    """The tag of an image reference; `latest` when it has neither tag nor digest, empty with only a digest."""
    name, at, _digest = image.partition("@")
    last = name.rpartition("/")[2]
    _, colon, tag = last.partition(":")
    if colon:
        return tag
    return "" if at else "latest"


def default_pod_spec(spec: dict[str, Any]) -> None:
    """Fill in a pod's spec, of a pod or a template."""
    fill_empty(spec, dnsPolicy="ClusterFirst", restartPolicy="Always", schedulerName="default-scheduler")
    fill(spec, securityContext={}, terminationGracePeriodSeconds=30)
    if spec.get("serviceAccount") and not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    elif spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    for name in CONTAINER_LISTS:
        for container in items(spec, name):
            _default_container(container)
    for volume in items(spec, "volumes"):
        default_volume(volume)
    canonical_quantities(spec.get("overhead"))
    resources = spec.get("resources")
    if isinstance(resources, dict):
        canonical_quantities(resources.get("limits"))
        canonical_quantities(resources.get("requests"))


def _requests_from_limits(resources: dict[str, Any]) -> None:
    limits = resources.get("limits")
    if not limits:
        return
    requests = resources.get("requests")
    if not isinstance(requests, dict):
        requests = resources["requests"] = {}
    for name, amount in limits.items():
        requests.setdefault(name, amount)


def default_pod_only(spec: dict[str, Any]) -> None:
    """What pods get on top, while templates keep what they say: requests follow limits, host ports, a grace period."""
    fill(spec, enableServiceLinks=True)
    grace = spec.get("terminationGracePeriodSeconds")
    if isinstance(grace, int) and grace < 0:
        spec["terminationGracePeriodSeconds"] = 1
    for name in ("containers", "initContainers"):
        for container in items(spec, name):
            _requests_from_limits(struct(container, "resources"))
            if spec.get("hostNetwork"):
                for port in items(container, "ports"):
                    if not port.get("hostPort") and port.get("containerPort"):
                        port["hostPort"] = port["containerPort"]
    _default_pod_requests(spec)


def _default_pod_requests(spec: dict[str, Any]) -> None:
    """A pod with limits of its own asks for what its containers ask for together, else for its limits (KEP-2837)."""
    resources = spec.get("resources")
    if not isinstance(resources, dict) or not resources.get("limits"):
        return
    requests = resources.get("requests") or {}
    for name, amount in container_amounts(spec, "requests").items():
        if name in POD_LEVEL_RESOURCES:
            requests.setdefault(name, str(amount))
    for name, text in resources["limits"].items():
        if name in POD_LEVEL_RESOURCES or name.startswith("hugepages-"):
            requests.setdefault(name, text)
    if requests:
        resources["requests"] = requests


def _default_container(container: dict[str, Any]) -> None:
    image = container.get("image") or ""
    fill_empty(container, imagePullPolicy="Always" if image_tag(image) == "latest" else "IfNotPresent")
    fill_empty(container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    resources = struct(container, "resources")
    canonical_quantities(resources.get("limits"))
    canonical_quantities(resources.get("requests"))
    for port in items(container, "ports"):
        fill_empty(port, protocol="TCP")
        if port.get("hostPort") == 0:
            del port["hostPort"]
    for variable in items(container, "env"):
        source = variable.get("valueFrom")
        if isinstance(source, dict):
            field = source.get("fieldRef")
            if isinstance(field, dict):
                fill_empty(field, apiVersion="v1")
            resource = source.get("resourceFieldRef")
            if isinstance(resource, dict):
                _default_resource_field(resource)
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if isinstance(probe, dict):
            _default_probe(probe)
    lifecycle = container.get("lifecycle")
    if isinstance(lifecycle, dict):
        for name in ("postStart", "preStop"):
            handler = lifecycle.get(name)
            if isinstance(handler, dict):
                _default_handler(handler)
    context = container.get("securityContext")
    if isinstance(context, dict) and isinstance(context.get("procMount"), str) and not context["procMount"]:
        context["procMount"] = "Default"
    if isinstance(context, dict) and context.get("procMount") is None:
        context.pop("procMount", None)


def _default_resource_field(resource: dict[str, Any]) -> None:
    fill_empty(resource, divisor="0")
    canonical_quantity(resource, "divisor")


def _default_probe(probe: dict[str, Any]) -> None:
    fill_empty(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    _default_handler(probe)


def _default_handler(handler: dict[str, Any]) -> None:
    http = handler.get("httpGet")
    if isinstance(http, dict):
        fill_empty(http, path="/", scheme="HTTP")
    grpc = handler.get("grpc")
    if isinstance(grpc, dict):
        fill(grpc, service="")


def default_volume(volume: dict[str, Any]) -> None:
    """Fill in one volume; a volume without a source is an emptyDir."""
    if not any(value is not None for key, value in volume.items() if key != "name"):
        volume["emptyDir"] = {}
    empty_dir = volume.get("emptyDir")
    if isinstance(empty_dir, dict):
        canonical_quantity(empty_dir, "sizeLimit")
    for name in ("secret", "configMap", "downwardAPI", "projected"):
        source = volume.get(name)
        if isinstance(source, dict):
            fill(source, defaultMode=420)
    downward = volume.get("downwardAPI")
    if isinstance(downward, dict):
        _default_downward_files(downward)
    projected = volume.get("projected")
    if isinstance(projected, dict):
        for source in items(projected, "sources"):
            part = source.get("downwardAPI")
            if isinstance(part, dict):
                _default_downward_files(part)
            token = source.get("serviceAccountToken")
            if isinstance(token, dict):
                fill(token, expirationSeconds=3600)
    host_path = volume.get("hostPath")
    if isinstance(host_path, dict):
        fill(host_path, type="")
    image = volume.get("image")
    if isinstance(image, dict):
        reference = image.get("reference") or ""
        fill_empty(image, pullPolicy="Always" if image_tag(reference) == "latest" else "IfNotPresent")
    default_volume_source(volume)
    ephemeral = volume.get("ephemeral")
    if isinstance(ephemeral, dict):
        from orchestrator.api.kinds.core.persistent_volume_claim import default_claim_spec

        default_claim_spec(struct(ephemeral, "volumeClaimTemplate", "spec"))


def default_volume_source(source: dict[str, Any]) -> None:
    """Fill in the sources that pods and persistent volumes share."""
    iscsi = source.get("iscsi")
    if isinstance(iscsi, dict):
        fill_empty(iscsi, iscsiInterface="default")
    rbd = source.get("rbd")
    if isinstance(rbd, dict):
        fill_empty(rbd, pool="rbd", user="admin", keyring="/etc/ceph/keyring")
    azure_disk = source.get("azureDisk")
    if isinstance(azure_disk, dict):
        fill(azure_disk, cachingMode="ReadWrite", kind="Shared", fsType="ext4", readOnly=False)
    scale_io = source.get("scaleIO")
    if isinstance(scale_io, dict):
        fill_empty(scale_io, storageMode="ThinProvisioned", fsType="xfs")


def _default_downward_files(source: dict[str, Any]) -> None:
    for file in items(source, "items"):
        field = file.get("fieldRef")
        if isinstance(field, dict):
            fill_empty(field, apiVersion="v1")
        resource = file.get("resourceFieldRef")
        if isinstance(resource, dict):
            _default_resource_field(resource)


def default_pod_template(template: dict[str, Any]) -> None:
    """Fill in a pod template in place."""
    struct(template, "metadata")
    default_pod_spec(struct(template, "spec"))
