"""Image rules of the kubelet: when to pull, with which credentials, what to say when it fails.

Pure functions. Mirrors pkg/kubelet/images and pkg/credentialprovider.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from orchestrator.api.objects import Object
from orchestrator.kubelet.holds import Backoff, Hold, Waiting

DOCKER_HUB = "index.docker.io"


def pull_policy_of(container: Object) -> str:
    """Always, IfNotPresent or Never; a missing one follows the tag (docs, "Images")."""
    policy = container.get("imagePullPolicy")
    if policy:
        return str(policy)
    image = container.get("image") or ""
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def registry_of(image: str) -> str:
    """The registry that an image reference names; Docker Hub when it names none."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return _host_of(first)
    return DOCKER_HUB


def repository_of(image: str) -> str:
    """Registry and repository of an image reference, without tag and digest."""
    first, slash, rest = image.partition("/")
    name = rest if slash and ("." in first or ":" in first or first == "localhost") else image
    folder, slash, last = name.partition("@")[0].rpartition("/")
    return f"{registry_of(image)}/{folder}{slash}{last.partition(':')[0]}"


class PullCredentials(Struct, frozen=True):
    """What to tell a registry, and which Secret said so."""

    auth: Mapping[str, Any]
    secret: str
    """Namespace, name and uid."""

    @property
    def hash(self) -> str:
        """Tells credentials apart without showing them."""
        return hashlib.sha256(json.dumps(self.auth, sort_keys=True).encode()).hexdigest()


def credentials_for(image: str, secrets: Iterable[Object | None]) -> list[PullCredentials]:
    """The `auths` entries for an image out of imagePullSecrets, in the order to try them: the longest path first.

    An entry's host may have globs, one for each part between dots (docs, "Interpretation of config.json").
    """
    registry = registry_of(image)
    repository = repository_of(image).removeprefix(f"{registry}/")
    found: list[tuple[int, PullCredentials]] = []
    for secret in secrets:
        for server, entry in _auths(secret).items():
            host, _, path = server.removeprefix("https://").removeprefix("http://").rstrip("/").partition("/")
            if path in ("v1", "v2"):
                path = ""
            if not _is_host(registry, _host_of(host)):
                continue
            if path and not (repository == path or repository.startswith(path + "/")):
                continue
            auth = _decoded(entry, registry)
            if all(auth != other.auth for _, other in found):
                found.append((len(path), PullCredentials(auth, _coordinates_of(secret))))
    found.sort(key=lambda match: -match[0])
    return [credentials for _, credentials in found]


def _host_of(name: str) -> str:
    return DOCKER_HUB if name in ("docker.io", "registry-1.docker.io") else name


def _coordinates_of(secret: Object | None) -> str:
    metadata = (secret or {}).get("metadata") or {}
    return "/".join(str(metadata.get(key) or "") for key in ("namespace", "name", "uid"))


def _is_host(name: str, pattern: str) -> bool:
    (host, _, port), (host_pattern, _, port_pattern) = name.partition(":"), pattern.partition(":")
    parts, patterns = host.split("."), host_pattern.split(".")
    return (
        port == port_pattern
        and len(parts) == len(patterns)
        and all(fnmatchcase(part, each) for part, each in zip(parts, patterns, strict=True))
    )


def _auths(secret: Object | None) -> Mapping[str, Any]:
    data = (secret or {}).get("data") or {}
    try:
        if data.get(".dockerconfigjson"):
            auths = json.loads(base64.b64decode(data[".dockerconfigjson"])).get("auths")
        elif data.get(".dockercfg"):
            auths = json.loads(base64.b64decode(data[".dockercfg"]))
        else:
            return {}
    except (ValueError, AttributeError):
        return {}  # a broken pull secret is the same as none: the pull then says what is missing
    return auths if isinstance(auths, dict) else {}


def _decoded(entry: Mapping[str, Any], host: str) -> Mapping[str, Any]:
    credentials = {
        "username": entry.get("username") or "",
        "password": entry.get("password") or "",
        "serveraddress": host,
    }
    if entry.get("auth") and not credentials["username"]:
        try:
            name, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return credentials
        credentials.update(username=name, password=password)
    if entry.get("identitytoken"):
        credentials["identitytoken"] = entry["identitytoken"]
    return credentials


def backed_off(image: str, failure: str = "") -> Waiting:
    """`ImagePullBackOff` with the failure that led to it."""
    message = f'Back-off pulling image "{image}"'
    return Waiting("ImagePullBackOff", f"{message}: ErrImagePull: {failure}" if failure else message)


def hold_after_failed_pull(image: str, failure: str, backoff: Backoff) -> Hold:
    """ErrImagePull, soon ImagePullBackOff, until the back-off of this image is over."""
    from datetime import timedelta

    return Hold(
        waiting=Waiting("ErrImagePull", failure),
        until=backoff.updated_at + timedelta(seconds=backoff.delay_seconds),
        then=backed_off(image, failure),
        turns_at=backoff.updated_at + timedelta(seconds=2),
    )
