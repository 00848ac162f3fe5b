"""What one NetworkPolicy allows, as rules that accept; pure.

A pod that a policy selects is isolated in the policy's directions: what no rule accepts is dropped. Source: the API
reference of NetworkPolicy and kubernetes.io/docs/concepts/services-networking/network-policies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from msgspec import Struct

from orchestrator.api.objects import Object, key_of, labels_of, name_of, namespace_of
from orchestrator.api.selectors import LabelSelector, from_label_selector

INGRESS, EGRESS = "Ingress", "Egress"
PROTOCOLS = ("TCP", "UDP", "SCTP")


class PodFacts(Struct, frozen=True):
    """What policies need to know of a pod that has an address."""

    key: str
    namespace: str
    address: str
    node_ip: str
    labels: Mapping[str, str]
    ports: tuple[tuple[str, str, int], ...] = ()
    """(name, protocol, number) of named container ports."""

    def __hash__(self) -> int:
        return hash((self.key, self.address, self.ports))


def pod_facts(pod: Object | None) -> PodFacts | None:
    """None for pods that policies are not about: without an address, on the host network, ended."""
    if pod is None:
        return None
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    address = status.get("podIP") or ""
    if not address or ":" in address or spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    ports = [
        (port["name"], port.get("protocol") or "TCP", port["containerPort"])
        for container in (*(spec.get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if port.get("name")
    ]
    return PodFacts(key_of(pod), namespace_of(pod), address, status.get("hostIP") or "", labels_of(pod), tuple(ports))


class Scope(Struct, frozen=True, dict=True):
    """A selection of pods: in one namespace, or in those that a selector matches."""

    pods: LabelSelector
    namespace: str = ""
    namespaces: LabelSelector | None = None

    def matches(self, pod: PodFacts, namespace_labels: Mapping[str, str]) -> bool:
        """Whether a pod belongs to it."""
        if self.namespaces is None:
            return pod.namespace == self.namespace and self.pods.matches(pod.labels)
        return self.namespaces.matches(namespace_labels) and self.pods.matches(pod.labels)

    @cached_property
    def digest(self) -> str:
        """Names the sets of its members."""
        namespaces = None if self.namespaces is None else str(self.namespaces)
        return digest(json.dumps([str(self.pods), self.namespace, namespaces]))


class MemberSet(Struct, frozen=True):
    """A set in the kernel that holds the members of a scope: addresses, or what a port's name means for each."""

    scope: Scope
    port: str = ""
    protocol: str = ""

    @property
    def name(self) -> str:
        if not self.port:
            return f"pods_{self.scope.digest}"
        return f"ports_{digest(f'{self.scope.digest}/{self.port}/{self.protocol}')}"

    @property
    def declaration(self) -> str:
        if not self.port:
            return "{ type ipv4_addr; }"
        return "{ type ipv4_addr . inet_proto . inet_service; }"

    def elements(self, pod: PodFacts) -> Iterator[str]:
        """What a member contributes."""
        if not self.port:
            yield pod.address
            return
        for name, protocol, number in pod.ports:
            if (name, protocol) == (self.port, self.protocol):
                yield f"{pod.address} . {protocol.lower()} . {number}"


class PolicyRules(Struct, frozen=True):
    """One policy: whom it isolates, and what it accepts in each direction."""

    subject: Scope
    accepts: dict[str, tuple[str, ...]]
    """Direction → rules; a direction that is not there is not the policy's business."""
    sets: frozenset[MemberSet]


def plan_policy(policy: Object) -> PolicyRules:
    """The rules of a policy. BadRequest for a selector that is malformed."""
    spec = policy.get("spec") or {}
    namespace = namespace_of(policy)
    subject = Scope(from_label_selector(spec.get("podSelector") or {}), namespace)
    types = spec.get("policyTypes") or [INGRESS, *([EGRESS] if spec.get("egress") else [])]
    sets: set[MemberSet] = set()
    accepts = {}
    if INGRESS in types:
        accepts[INGRESS] = tuple(_rules(spec.get("ingress") or (), "from", "saddr", subject, namespace, sets))
    if EGRESS in types:
        accepts[EGRESS] = tuple(_rules(spec.get("egress") or (), "to", "daddr", None, namespace, sets))
    return PolicyRules(subject, accepts, frozenset(sets))


def _rules(
    rules: Any, peers_key: str, field_name: str, subject: Scope | None, namespace: str, sets: set[MemberSet]
) -> Iterator[str]:
    for rule in rules:
        peers = rule.get(peers_key)
        for peer in peers or (None,):
            scope = _scope(peer, namespace)
            condition = _peer_condition(peer, scope, field_name, sets)
            for port in rule.get("ports") or (None,):
                # The name of a port means what it means for the pod that is the destination.
                target = subject if subject is not None else scope
                ports = _port_condition(port, target, sets)
                if condition is not None and ports is not None:
                    yield f"{condition}{ports}accept"


def _scope(peer: Mapping[str, Any] | None, namespace: str) -> Scope | None:
    """The pods that a peer selects; all of them when there is no peer; None for blocks of addresses."""
    if peer is None:
        everything = from_label_selector({})
        return Scope(everything, namespaces=everything)
    if peer.get("ipBlock") is not None:
        return None
    pods = from_label_selector(peer.get("podSelector") or {})
    if peer.get("namespaceSelector") is None:
        return Scope(pods, namespace)
    return Scope(pods, namespaces=from_label_selector(peer["namespaceSelector"]))


def _peer_condition(
    peer: Mapping[str, Any] | None, scope: Scope | None, field_name: str, sets: set[MemberSet]
) -> str | None:
    if peer is None:
        return ""
    if scope is not None:
        members = MemberSet(scope)
        sets.add(members)
        return f"ip {field_name} @{members.name} "
    block = peer["ipBlock"]
    if ":" in block["cidr"]:
        return None
    excepted = "".join(f"ip {field_name} != {one} " for one in block.get("except") or () if ":" not in one)
    return f"ip {field_name} {block['cidr']} {excepted}"


def _port_condition(port: Mapping[str, Any] | None, target: Scope | None, sets: set[MemberSet]) -> str | None:
    if port is None:
        return ""
    protocol = port.get("protocol") or "TCP"
    number = port.get("port")
    if protocol not in PROTOCOLS:
        return None
    if number is None:
        return f"meta l4proto {protocol.lower()} "
    if isinstance(number, str):
        if target is None:
            return None  # nobody knows what a name means at an address outside
        named = MemberSet(target, number, protocol)
        sets.add(named)
        return f"ip daddr . meta l4proto . th dport @{named.name} "
    end = port.get("endPort")
    numbers = f"{number}-{end}" if end and end != number else f"{number}"
    return f"meta l4proto {protocol.lower()} th dport {numbers} "


def chain_of(policy_key: str, direction: str) -> str:
    """The chain of a policy's rules."""
    return f"policy_{direction.lower()}_{digest(policy_key)}"


def policy_key(policy: Object) -> str:
    """What a policy is known by."""
    return f"{namespace_of(policy)}/{name_of(policy)}"


def digest(text: str) -> str:
    """Short, for names in the kernel."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
