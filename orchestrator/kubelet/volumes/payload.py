"""The files of configMap, secret, downwardAPI and projected volumes: a pure function of their sources.

Never writes anything. Mirrors pkg/volume/{configmap,secret,downwardapi,projected}.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping

from msgspec import Struct

from orchestrator.api.objects import Object
from orchestrator.kubelet.containers.environment import (
    ConfigurationError,
    EnvironmentSources,
    field_value,
    resource_value,
)
from orchestrator.kubelet.pod import ContainerKind, all_containers_of, find_container, spec_of

MODE_DEFAULT = 0o644
TOKEN_SECONDS_DEFAULT = 3600

KINDS = ("configMap", "secret", "downwardAPI", "projected")


class FileContent(Struct, frozen=True):
    """One file of a volume."""

    data: bytes
    mode: int
    user: int | None = None
    """The uid that owns it; None: root."""


Payload = dict[str, FileContent]
"""Relative path → file."""


class PayloadError(Exception):
    """The files of a volume cannot be told; the message follows `MountVolume.SetUp failed for volume "x" : `."""


class TokenWish(Struct, frozen=True):
    """A serviceAccountToken source of a projected volume."""

    audience: str
    seconds: int


def token_wishes(volume: Object) -> list[TokenWish]:
    """The tokens that a volume needs, in the order of its sources."""
    return [
        _wish(source["serviceAccountToken"])
        for source in (volume.get("projected") or {}).get("sources") or ()
        if source.get("serviceAccountToken") is not None
    ]


def _wish(source: Object) -> TokenWish:
    return TokenWish(source.get("audience") or "", int(source.get("expirationSeconds") or TOKEN_SECONDS_DEFAULT))


def is_written(volume: Object) -> bool:
    """Whether the kubelet writes the files of this volume itself."""
    return any(volume.get(kind) is not None for kind in KINDS)


def is_secret(volume: Object) -> bool:
    """Whether the files must not reach a disk."""
    if volume.get("secret") is not None:
        return True
    sources = (volume.get("projected") or {}).get("sources") or ()
    return any(s.get("secret") is not None or s.get("serviceAccountToken") is not None for s in sources)


def plan_payload(
    pod: Object, volume: Object, sources: EnvironmentSources, tokens: Mapping[TokenWish, str]
) -> Payload:  # fmt: skip
    """All files of a volume; PayloadError when a source that is not optional is missing."""
    if volume.get("configMap") is not None:
        return _config_map(volume["configMap"], sources, int(volume["configMap"].get("defaultMode", MODE_DEFAULT)))
    if volume.get("secret") is not None:
        source = volume["secret"]
        renamed = {**source, "name": source.get("secretName") or ""}
        return _secret(renamed, sources, int(source.get("defaultMode", MODE_DEFAULT)))
    if volume.get("downwardAPI") is not None:
        source = volume["downwardAPI"]
        return _downward(pod, source.get("items") or (), sources, int(source.get("defaultMode", MODE_DEFAULT)))
    projected = volume["projected"]
    mode = int(projected.get("defaultMode", MODE_DEFAULT))
    payload: Payload = {}
    for part in projected.get("sources") or ():
        if part.get("configMap") is not None:
            payload.update(_config_map(part["configMap"], sources, mode))
        elif part.get("secret") is not None:
            payload.update(_secret(part["secret"], sources, mode))
        elif part.get("downwardAPI") is not None:
            payload.update(_downward(pod, part["downwardAPI"].get("items") or (), sources, mode))
        elif part.get("serviceAccountToken") is not None:
            source = part["serviceAccountToken"]
            payload[source["path"]] = _token_file(pod, tokens[_wish(source)], mode)
        else:
            raise PayloadError(f"unsupported projected volume source: {', '.join(part)}")
    return payload


def _token_file(pod: Object, token: str, mode: int) -> FileContent:
    """A token is readable by its pod's group or user, and by nobody else when that can be known (KEP-1205)."""
    has_group = (spec_of(pod).get("securityContext") or {}).get("fsGroup") is not None
    user = shared_user(pod)
    if has_group or user is not None:
        mode = 0o600
    return FileContent(token.encode(), mode, user)


def shared_user(pod: Object) -> int | None:
    """The uid that every container of the pod is told to run as; None when they are not all told the same."""
    default = (spec_of(pod).get("securityContext") or {}).get("runAsUser")
    users = set()
    for kind, container in all_containers_of(pod):
        if kind is not ContainerKind.EPHEMERAL:
            own = (container.get("securityContext") or {}).get("runAsUser")
            users.add(default if own is None else own)
    only = users.pop() if len(users) == 1 else None
    return None if only is None else int(only)


def _config_map(source: Object, sources: EnvironmentSources, mode: int) -> Payload:
    name, optional = source.get("name") or "", bool(source.get("optional"))
    found = sources.config_maps.get(name)
    if found is None:
        if optional:
            return {}
        raise PayloadError(f'configmap "{name}" not found')
    data: dict[str, bytes] = {key: str(value).encode() for key, value in (found.get("data") or {}).items()}
    for key, value in (found.get("binaryData") or {}).items():
        data[key] = _decoded(value)
    return _select(data, source.get("items"), mode, optional, "configmap")


def _secret(source: Object, sources: EnvironmentSources, mode: int) -> Payload:
    name, optional = source.get("name") or "", bool(source.get("optional"))
    found = sources.secrets.get(name)
    if found is None:
        if optional:
            return {}
        raise PayloadError(f'secret "{name}" not found')
    data = {key: _decoded(value) for key, value in (found.get("data") or {}).items()}
    return _select(data, source.get("items"), mode, optional, "secret")


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value)
    except (binascii.Error, ValueError) as error:
        raise PayloadError(f"illegal base64 data: {error}") from error


def _select(
    data: Mapping[str, bytes], items: Iterable[Object] | None, mode: int, optional: bool, kind: str
) -> Payload:  # fmt: skip
    if not items:
        return {key: FileContent(value, mode) for key, value in data.items()}
    payload: Payload = {}
    for item in items:
        if item["key"] not in data:
            if optional:
                continue
            raise PayloadError(f"{kind} references non-existent config key: {item['key']}")
        payload[item["path"]] = FileContent(data[item["key"]], _mode(item, mode))
    return payload


def _mode(item: Object, default: int) -> int:
    return default if item.get("mode") is None else int(item["mode"])


def _downward(pod: Object, items: Iterable[Object], sources: EnvironmentSources, mode: int) -> Payload:
    payload: Payload = {}
    for item in items:
        try:
            if item.get("fieldRef"):
                value = field_value(pod, item["fieldRef"]["fieldPath"], sources)
            else:
                reference = item["resourceFieldRef"]
                found = find_container(pod, reference.get("containerName") or "")
                if found is None:
                    raise PayloadError(f"container {reference.get('containerName')} not found")
                value = resource_value(found[1], reference["resource"], reference.get("divisor"), sources.allocatable)
        except ConfigurationError as error:
            raise PayloadError(str(error)) from error
        payload[item["path"]] = FileContent(value.encode(), _mode(item, mode))
    return payload
