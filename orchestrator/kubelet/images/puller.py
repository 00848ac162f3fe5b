"""Images for containers: on the node already, or pulled, with the holds and back-offs of pulls that failed.

Mirrors pkg/kubelet/images/image_manager.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from msgspec.structs import replace

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object, namespace_of
from orchestrator.api.resources import SECRETS
from orchestrator.client.client import Client
from orchestrator.kubelet.holds import CRASH_BACKOFF_SECONDS, Hold, Waiting, next_backoff
from orchestrator.kubelet.images.pull_records import PullRecords
from orchestrator.kubelet.images.rules import PullCredentials, credentials_for, hold_after_failed_pull, pull_policy_of
from orchestrator.kubelet.parts import PodFiles, Probes, VolumeError
from orchestrator.kubelet.pod import spec_of
from orchestrator.kubelet.record import PodRecord
from orchestrator.kubelet.runtime import (
    ContainerRuntime,
    Image,
    ImageNameInvalid,
    ImagePullError,
    RuntimeFailure,
    RuntimePod,
    RuntimeUnavailable,
)
from orchestrator.kubelet.sources import read_all
from orchestrator.kubelet.status.reporter import PodReporter

PARALLEL_PULLS_MAX = 4


class Held(Exception):
    """A container cannot be started now, and why."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(hold.waiting.reason)
        self.hold = hold


class PullNeeded(Exception):
    """A container's image has to be pulled first."""


class ImagePuller:
    """Brings images to one node."""

    def __init__(
        self,
        *,
        client: Client,
        clock: Clock,
        runtime: ContainerRuntime,
        files: PodFiles | None,
        probes: Probes,
        reporter: PodReporter,
        records: PullRecords | None = None,
        pulled: Callable[[str, Image], None] | None = None,
    ) -> None:
        """`records` are those of the runtime's Engine; `pulled` is told of each image that came to the node."""
        self._client = client
        self._clock = clock
        self._runtime = runtime
        self._files = files
        self._probes = probes
        self._reporter = reporter
        self._records = PullRecords() if records is None else records
        self._pulled = pulled
        self._pulls = asyncio.Semaphore(PARALLEL_PULLS_MAX)

    async def ensure(
        self, record: PodRecord, container: Object, observed: RuntimePod | None, *, may_pull: bool = True
    ) -> Image:
        """The image on the node, pulled when its policy says so; raises Held, and PullNeeded unless it may pull."""
        pod, name, reference = record.pod, container["name"], container.get("image") or ""
        policy = pull_policy_of(container)
        try:
            present = await self._runtime.image_status(reference)
        except ImageNameInvalid as error:
            message = f'Failed to apply default image tag "{reference}": {error}'
            self._reporter.event(pod, "Warning", "InspectFailed", message, container=name)
            self._reporter.event(pod, "Warning", "Failed", "Error: InvalidImageName", container=name)
            raise Held(Hold(Waiting("InvalidImageName", message))) from error
        usable = present is not None and (policy == "Always" or await self._may_use(pod, reference, present))
        if policy == "Never" and not usable:
            message = f'Container image "{reference}" is not present with pull policy of Never'
            self._reporter.event(pod, "Warning", "ErrImageNeverPull", message, container=name)
            self._reporter.event(pod, "Warning", "Failed", "Error: ErrImageNeverPull", container=name)
            until = self._clock.now() + timedelta(seconds=CRASH_BACKOFF_SECONDS)
            raise Held(Hold(Waiting("ErrImageNeverPull", message), until))
        if present is not None and usable and policy != "Always":
            message = f'Container image "{reference}" already present on machine and can be accessed by the pod'
            self._reporter.event(pod, "Normal", "Pulled", message, container=name)
            return present
        if not may_pull:
            raise PullNeeded
        image = await self._pull(record, name, reference, observed, present)
        if present is None or present.id != image.id:
            if self._pulled is not None:
                self._pulled(reference, image)
            known = self._records.snapshot()
            self._records.keep({each.id for each in await self._runtime.list_images()} | {image.id}, known)
        return image

    async def _may_use(self, pod: Object, reference: str, image: Image) -> bool:
        """Whether the pod may have an image that is there: others may have needed their credentials to pull it."""
        if self._records.is_for_everybody(reference, image.id):
            return True
        return self._records.admits(reference, image.id, await self._credentials(pod, reference))

    async def of_volumes(
        self, record: PodRecord, container: Object, observed: RuntimePod | None, *, may_pull: bool = True
    ) -> dict[str, Image]:
        """The images of the image volumes that a container mounts, by volume name (KEP-4639); raises as `ensure`."""
        volumes = {v["name"]: v["image"] for v in spec_of(record.pod).get("volumes") or () if v.get("image")}
        images: dict[str, Image] = {}
        for mount in container.get("volumeMounts") or ():
            source = volumes.get(mount["name"])
            if source is not None and mount["name"] not in images:
                wanted = {"image": source.get("reference"), "imagePullPolicy": source.get("pullPolicy")}
                wanted = {**container, **wanted}
                image = await self.ensure(record, wanted, observed, may_pull=may_pull)
                images[mount["name"]] = replace(image, layers=await self.layers_of(image))
        return images

    async def layers_of(self, image: Image) -> tuple[str, ...]:
        """The directories of an image's layers; VolumeError when the runtime could not find out."""
        try:
            return await self._runtime.image_layers(image)
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            raise VolumeError(str(error), retry=True) from error

    async def _pull(
        self, record: PodRecord, name: str, reference: str, observed: RuntimePod | None, present: Image | None
    ) -> Image:
        pod = record.pod
        if self._files is not None:
            # A pull may take minutes: say ContainerCreating first.
            await self._reporter.report(
                record, observed, self._reporter.inputs(record, verdicts=self._probes.verdicts(record.uid))
            )
        credentials = await self._credentials(pod, reference)
        self._reporter.event(pod, "Normal", "Pulling", f'Pulling image "{reference}"', container=name)
        asked_at = self._clock.monotonic()
        try:
            with record.interruptibly():
                async with self._pulls:
                    started_at = self._clock.monotonic()
                    image = await self._pull_with_any(reference, credentials, present)
        except ImageNameInvalid as error:
            raise Held(Hold(Waiting("InvalidImageName", str(error)))) from error
        except ImagePullError as error:
            self._reporter.event(
                pod, "Warning", "Failed", f'Failed to pull image "{reference}": {error}', container=name
            )  # fmt: skip
            self._reporter.event(pod, "Warning", "Failed", "Error: ErrImagePull", container=name)
            now = self._clock.now()
            backoff = next_backoff(record.image_backoffs.get(reference), now, now)
            record.image_backoffs[reference] = backoff
            raise Held(hold_after_failed_pull(reference, str(error), backoff)) from error
        record.image_backoffs.pop(reference, None)
        ended_at = self._clock.monotonic()
        self._reporter.event(
            pod,
            "Normal",
            "Pulled",
            f'Successfully pulled image "{reference}" in {_go_duration(ended_at - started_at)} '
            f"({_go_duration(ended_at - asked_at)} including waiting). Image size: {image.size_bytes} bytes.",
            container=name,
        )
        return image

    async def _pull_with_any(
        self, reference: str, credentials: Sequence[PullCredentials], present: Image | None
    ) -> Image:
        """With the first credentials that the registry takes; without any when there are none."""
        failures: list[str] = []
        for each in credentials or (None,):
            self._records.begin(reference, "" if present is None else present.id)
            try:
                image = await self._runtime.pull_image(reference, None if each is None else each.auth)
            except ImagePullError as error:
                self._records.fail(reference)
                if str(error) not in failures:
                    failures.append(str(error))
            except BaseException:
                self._records.fail(reference)
                raise
            else:
                self._records.succeed(reference, image.id, each)
                return image
        raise ImagePullError(failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]")

    async def _credentials(self, pod: Object, reference: str) -> list[PullCredentials]:
        names = [entry.get("name", "") for entry in spec_of(pod).get("imagePullSecrets") or ()]
        if not names:
            return []
        secrets = await read_all(self._client, SECRETS, namespace_of(pod), {*names})
        missing = [name for name in dict.fromkeys(names) if secrets[name] is None]
        if missing:
            message = (
                f"Unable to retrieve some image pull secrets ({', '.join(missing)}); "
                "attempting to pull the image may not succeed."
            )
            self._reporter.event(pod, "Warning", "FailedToRetrieveImagePullSecret", message)
        return credentials_for(reference, [secrets[name] for name in dict.fromkeys(names)])


def _go_duration(seconds: float) -> str:
    """As Go prints it, to the millisecond: `1.234s`, `12ms`."""
    milliseconds = max(1, round(seconds * 1000))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:g}s"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m{rest / 1000:g}s"
