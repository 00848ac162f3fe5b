"""Image references and what the Engine says about images and pulls; pure.

Mirrors github.com/distribution/reference (the grammar, the familiar names) and the kubelet's
pkg/util/parsers (the default tag).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from orchestrator.kubelet.runtime import Image, ImageNameInvalid

DEFAULT_DOMAIN = "docker.io"
NAME_LENGTH_MAX = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_TAG = r"\w[\w.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*)(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?",
    re.ASCII,
)
_IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}", re.ASCII)


class ImageReference(Struct, frozen=True):
    """A parsed reference, normalised: `nginx` is docker.io/library/nginx:latest."""

    name: str
    """With domain and, for Docker Hub, `library/`."""
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def pull_parameters(self) -> dict[str, str]:
        """`fromImage` and `tag` of POST /images/create; a digest wins over a tag."""
        return {"fromImage": self.name, "tag": self.digest or self.tag}


def is_image_id(reference: str) -> bool:
    """Whether this is an image's own id rather than a name."""
    return _IMAGE_ID.fullmatch(reference) is not None


def parse_reference(reference: str) -> ImageReference:
    """The normalised reference; ImageNameInvalid worded as the kubelet's `InvalidImageName` event."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        reason = "invalid reference format"
        lower = _REFERENCE.fullmatch(reference.lower())
        if lower is not None and lower["name"] != reference[: len(lower["name"])]:
            reason = "invalid reference format: repository name must be lowercase"
        raise ImageNameInvalid(f'couldn\'t parse image name "{reference}": {reason}')
    name = match["name"]
    first, slash, rest = name.partition("/")
    if not slash or ("." not in first and ":" not in first and first != "localhost" and first == first.lower()):
        name = f"{DEFAULT_DOMAIN}/{name if slash else f'library/{name}'}"
    elif first in (DEFAULT_DOMAIN, "index.docker.io"):
        name = f"{DEFAULT_DOMAIN}/{rest if '/' in rest else f'library/{rest}'}"
    if len(name) > NAME_LENGTH_MAX:
        raise ImageNameInvalid(
            f'couldn\'t parse image name "{reference}": repository name must not be more than 255 characters'
        )
    tag, digest = match["tag"] or "", match["digest"] or ""
    return ImageReference(name=name, tag=tag or ("" if digest else "latest"), digest=digest)


def registry_auth_header(auth: Mapping[str, Any] | None) -> dict[str, str]:
    """The X-Registry-Auth header for credentials as they stand in a `dockerconfigjson` entry."""
    if not auth:
        return {}
    known = ("username", "password", "auth", "email", "serveraddress", "identitytoken", "registrytoken")
    content = {key: auth[key] for key in known if auth.get(key)}
    if "auth" in content and "username" not in content:
        user, _, password = base64.b64decode(content.pop("auth")).decode().partition(":")
        content |= {"username": user, "password": password}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(content).encode()).decode()}


def pull_failure(line: Mapping[str, Any]) -> str:
    """The error in one line of a pull's progress; empty when there is none."""
    detail = line.get("errorDetail") or {}
    return str(detail.get("message") or line.get("error") or "")


def image_from_inspect(data: Mapping[str, Any]) -> Image:
    """An image as `GET /images/{name}/json` shows it."""
    config = data.get("Config") or {}
    return Image(
        id=data["Id"],
        tags=tuple(tag for tag in data.get("RepoTags") or () if tag != "<none>:<none>"),
        digests=tuple(digest for digest in data.get("RepoDigests") or () if not digest.startswith("<none>")),
        size_bytes=int(data.get("Size") or 0),
        user=config.get("User") or "",
        stop_signal=config.get("StopSignal") or "",
        working_dir=config.get("WorkingDir") or "",
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        env=tuple(config.get("Env") or ()),
        layers=_layers(data.get("GraphDriver") or {}),
    )


def _layers(driver: Mapping[str, Any]) -> tuple[str, ...]:
    """Only overlay2 keeps each layer in a directory of its own and says where."""
    paths = driver.get("Data") or {}
    if driver.get("Name") != "overlay2" or not paths.get("UpperDir"):
        return ()
    return (str(paths["UpperDir"]), *filter(None, str(paths.get("LowerDir") or "").split(":")))


def image_from_list(data: Mapping[str, Any]) -> Image:
    """An image as `GET /images/json` shows it: without its configuration."""
    return Image(
        id=data["Id"],
        tags=tuple(tag for tag in data.get("RepoTags") or () if tag != "<none>:<none>"),
        digests=tuple(digest for digest in data.get("RepoDigests") or () if not digest.startswith("<none>")),
        size_bytes=int(data.get("Size") or 0),
    )
