"""Volumes and nodes that claims of pods on their way to a node have been promised; part of the scheduler's cache.

Mirrors the assume caches of kube-scheduler's volume binder; never talks to the API.
"""

from __future__ import annotations


class VolumeReservations:
    """Who is promised what until the API knows it."""

    def __init__(self) -> None:
        self._claims: dict[str, str] = {}
        self._nodes: dict[str, str] = {}

    def claim_of(self, volume: str) -> str:
        """The key of the claim that a volume is promised to; empty when it is free."""
        return self._claims.get(volume, "")

    def node_of(self, claim: str) -> str:
        """The node chosen for a claim (by key) whose binding is under way; empty when there is none."""
        return self._nodes.get(claim, "")

    def promise(self, claim: str, node: str, volume: str = "") -> None:
        """Keep a claim's node, and its volume when it has one already."""
        self._nodes[claim] = node
        if volume:
            self._claims[volume] = claim

    def release(self, claim: str, volume: str = "") -> None:
        """Forget a promise."""
        self._nodes.pop(claim, None)
        if volume:
            self._claims.pop(volume, None)
