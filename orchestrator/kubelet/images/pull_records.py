"""Who may use an image that is on the node: what pulls with and without credentials have shown (KEP-2535).

Owns the memory of an Engine's pulls, in one file that restarts survive. Images that no kubelet pulled are anybody's
(`NeverVerifyPreloadedImages`). Mirrors pkg/kubelet/images/pullmanager.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from orchestrator.kubelet.checkpoint import Checkpoint
from orchestrator.kubelet.images.rules import PullCredentials, repository_of

CREDENTIALS_MAX = 100
"""For one repository; more are verified by a pull each time."""


class Access(Struct, frozen=True):
    """Who pulled an image from one repository: everybody, or those with these credentials."""

    everybody: bool = False
    hashes: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()

    def admits(self, credentials: PullCredentials) -> bool:
        """The same credentials, or the same Secret after its credentials changed."""
        return credentials.hash in self.hashes or credentials.secret in self.secrets

    def plus(self, credentials: PullCredentials) -> Access:
        """Also with these credentials."""
        if len(self.hashes) >= CREDENTIALS_MAX or len(self.secrets) >= CREDENTIALS_MAX:
            return self
        return replace(self, hashes=self.hashes | {credentials.hash}, secrets=self.secrets | {credentials.secret})


class _State(Struct):
    images: dict[str, dict[str, Access]] = field(default_factory=dict)
    """By image id and repository."""
    pulling: dict[str, str] = field(default_factory=dict)
    """References whose pull began, with the id of the image that had this name before."""


class PullRecords:
    """The pulls of the nodes that share an Engine."""

    def __init__(self, file: Path | None = None) -> None:
        """Without a file nothing is remembered after the process."""
        self._checkpoint = Checkpoint(file, _State) if file is not None else None
        self._loaded: _State | None = None
        self._running: dict[str, int] = {}

    def is_for_everybody(self, reference: str, image_id: str) -> bool:
        """Whether no credentials are needed to use the image by this name."""
        state = self._state()
        repositories = state.images.get(image_id)
        if repositories is None:
            # A pull that began and of which nobody knows the end may have brought this image.
            return state.pulling.get(reference, image_id) == image_id
        return repositories.get(repository_of(reference), Access()).everybody

    def admits(self, reference: str, image_id: str, credentials: Iterable[PullCredentials]) -> bool:
        """Whether one of these credentials has pulled the image already; remembers its new form when it changed."""
        repository = repository_of(reference)
        access = self._state().images.get(image_id, {}).get(repository, Access())
        for each in credentials:
            if access.admits(each):
                self._note(image_id, repository, access.plus(each))
                return True
        return False

    def begin(self, reference: str, present_id: str) -> None:
        """A pull begins; `present_id` is the image that has the name until now, or empty."""
        self._running[reference] = self._running.get(reference, 0) + 1
        if reference not in self._state().pulling:
            self._state().pulling[reference] = present_id
            self._save()

    def fail(self, reference: str) -> None:
        """A pull ended without an image."""
        if self._end(reference):
            self._save()

    def succeed(self, reference: str, image_id: str, credentials: PullCredentials | None) -> None:
        """A pull brought the image with these credentials, or without any."""
        repository = repository_of(reference)
        access = self._state().images.get(image_id, {}).get(repository, Access())
        access = replace(access, everybody=True) if credentials is None else access.plus(credentials)
        ended = self._end(reference)
        if not self._note(image_id, repository, access) and ended:
            self._save()

    def snapshot(self) -> Mapping[str, object]:
        """What is known now, for `keep`."""
        return dict(self._state().images)

    def keep(self, present: Collection[str], known: Mapping[str, object]) -> None:
        """Forget images that are gone, if nothing happened to them since `known` was taken."""
        images = self._state().images
        gone = [each for each, entry in known.items() if each not in present and images.get(each) is entry]
        for image_id in gone:
            del images[image_id]
        if gone:
            self._save()

    def _note(self, image_id: str, repository: str, access: Access) -> bool:
        repositories = self._state().images.get(image_id, {})
        if repositories.get(repository) == access:
            return False
        self._state().images[image_id] = {**repositories, repository: access}
        self._save()
        return True

    def _end(self, reference: str) -> bool:
        left = self._running.pop(reference, 1) - 1
        if left > 0:
            self._running[reference] = left
            return False
        return self._state().pulling.pop(reference, None) is not None

    def _state(self) -> _State:
        if self._loaded is None:
            self._loaded = (self._checkpoint.load() if self._checkpoint is not None else None) or _State()
        return self._loaded

    def _save(self) -> None:
        if self._checkpoint is not None:
            self._checkpoint.save(self._state())
