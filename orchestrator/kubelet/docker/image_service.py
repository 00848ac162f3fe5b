"""The images of an Engine, its pause image among them; mirrors the CRI's ImageService."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.kubelet.docker.engine import DockerEngine, EngineError, read_lines
from orchestrator.kubelet.docker.images import (
    image_from_inspect,
    image_from_list,
    is_image_id,
    parse_reference,
    pull_failure,
    registry_auth_header,
)
from orchestrator.kubelet.docker.pause import (
    DIGEST_LABEL,
    PAUSE_IMAGE,
    normalise_architecture,
    pause_digest,
    pause_image_archive,
)
from orchestrator.kubelet.runtime import Image, ImagePullError, RuntimeFailure

PULL_LINE_BYTES_MAX = 1024 * 1024


class ImageService:
    """Images of one Engine."""

    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine

    async def ensure_pause(self) -> None:
        """Load the pause image unless this very one is there. RuntimeFailure."""
        try:
            architecture = normalise_architecture(str(self._engine.info.get("Architecture", "")))
        except ValueError as error:
            raise RuntimeFailure(str(error)) from None
        try:
            image = await self._engine.call("GET", f"images/{PAUSE_IMAGE}/json")
        except EngineError as error:
            if error.status != 404:
                raise
            image = {}
        labels = (image.get("Config") or {}).get("Labels") or {}
        if labels.get(DIGEST_LABEL) == pause_digest(architecture):
            return
        async with self._engine.stream(
            "POST",
            "images/load",
            params={"quiet": "1"},
            body=pause_image_archive(architecture),
            headers={"Content-Type": "application/x-tar"},
        ) as response:
            async for line in read_lines(response, PULL_LINE_BYTES_MAX):
                if failure := pull_failure(json.loads(line)):
                    raise RuntimeFailure(f"loading the pause image: {failure}")

    async def status(self, reference: str) -> Image | None:
        """An image by name or id; None when it is not there."""
        name = reference if is_image_id(reference) else str(parse_reference(reference))
        try:
            return image_from_inspect(await self._engine.call("GET", f"images/{name}/json"))
        except EngineError as error:
            if error.status == 404:
                return None
            raise RuntimeFailure(str(error)) from error

    async def list(self) -> list[Image]:
        """All images of the Engine."""
        return [image_from_list(item) for item in await self._engine.call("GET", "images/json")]

    async def pull(self, reference: str, auth: Mapping[str, Any] | None = None) -> Image:
        """Have the Engine pull an image; ImagePullError."""
        parsed = parse_reference(reference)
        try:
            async with self._engine.stream(
                "POST", "images/create", params=parsed.pull_parameters, headers=registry_auth_header(auth)
            ) as response:
                async for line in read_lines(response, PULL_LINE_BYTES_MAX):
                    if failure := pull_failure(json.loads(line)):
                        raise ImagePullError(failure)
        except EngineError as error:
            raise ImagePullError(str(error)) from error
        image = await self.status(reference)
        if image is None:
            raise ImagePullError(f"the image {reference} was pulled but is not there")
        return image

    async def remove(self, image_id: str) -> None:
        """Remove an image with all its names; RuntimeFailure while a container uses it."""
        image = await self.status(image_id)
        if image is None:
            return
        filters = json.dumps({"ancestor": [image.id]})
        users = await self._engine.call("GET", "containers/json", params={"all": "1", "filters": filters})
        if users:
            raise RuntimeFailure(f"image {image_id} is in use by container {users[0]['Id'][:12]}")
        try:
            # By id alone the Engine refuses when several names share the image.
            for name in image.tags[1:]:
                await self._engine.call("DELETE", f"images/{name}")
            await self._engine.call("DELETE", f"images/{image.id}", params={"force": "1"})
        except EngineError as error:
            if error.status != 404:
                raise RuntimeFailure(str(error)) from error
