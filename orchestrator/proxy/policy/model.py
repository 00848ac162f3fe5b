"""The rules of all NetworkPolicies: who is in which set, which pod is isolated by which policies; no I/O.

The cost of a change follows what it touches: a pod is compared with the selectors in use, and only sets and chains
that differ are written. Nothing is in the kernel while there is no policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from orchestrator.proxy.changes import Element, TableChanges
from orchestrator.proxy.policy.plan import EGRESS, INGRESS, MemberSet, PodFacts, PolicyRules, Scope, chain_of, digest

OWN_NODE = "own_node"
KNOWN_PODS = "known_pods"
"""Addresses of pods that policies know about; what else there is in the pods' range has no business yet."""
MAPS = {INGRESS: "ingress_pods", EGRESS: "egress_pods"}


class PolicyModel:
    """What should be in the kernel, and what changed since it was last written."""

    def __init__(self) -> None:
        self.changes = TableChanges()
        self._policies: dict[str, PolicyRules] = {}
        self._by_namespace: dict[str, dict[str, PolicyRules]] = {}
        self._pods: dict[str, PodFacts] = {}
        self._pods_of: dict[str, set[str]] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._addresses: Counter[str] = Counter()
        """Of pods; two may have the same for a moment."""
        self._sets: dict[MemberSet, Counter[str]] = {}
        """Elements, and how many members contribute each."""
        self._users: Counter[MemberSet] = Counter()
        self._members: dict[MemberSet, dict[str, PodFacts]] = {}
        self._isolated: dict[str, list[tuple[str, str, str]]] = {}
        """Pod → elements (map, key, value) that isolate it."""
        self._claims: dict[Element, dict[str, str]] = {}
        """Element → value by pod; an address that two pods have for a moment belongs to the one that came last."""
        self._chains: dict[str, tuple[str, ...]] = {}
        self._chain_users: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._policies)

    # What changed.

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """A namespace has these labels; None: it is gone."""
        if self._namespaces.get(name) == labels:
            return
        if labels is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = labels
        for key in self._pods_of.get(name, ()):
            for members in self._sets:
                if members.scope.namespaces is not None:
                    self._update_member(members, key)

    def set_pod(self, key: str, facts: PodFacts | None) -> None:
        """A pod is as described; None: policies are not about it any more."""
        old = self._pods.get(key)
        if old == facts and (old is None or facts is None or old.labels == facts.labels):
            return
        if old is not None:
            self._pods_of[old.namespace].discard(key)
        if facts is None:
            self._pods.pop(key, None)
        else:
            self._pods[key] = facts
            self._pods_of.setdefault(facts.namespace, set()).add(key)
        for members in self._sets:
            self._update_member(members, key)
        self._isolate(key)
        self._count_address(facts, 1)
        self._count_address(old, -1)

    def _count_address(self, pod: PodFacts | None, change: int) -> None:
        if pod is None:
            return
        address = pod.address
        self._addresses[address] += change
        count = self._addresses[address]
        if not count:
            del self._addresses[address]
        if self._policies and (change, count) == (1, 1):
            self.changes.add((KNOWN_PODS, address), "")
        elif self._policies and (change, count) == (-1, 0):
            self.changes.delete((KNOWN_PODS, address), "")

    def set_policy(self, key: str, rules: PolicyRules | None) -> None:
        """A policy has these rules; None: it is gone."""
        old = self._policies.get(key)
        if old == rules:
            return
        namespace = key.partition("/")[0]
        for members in sorted(rules.sets if rules is not None else (), key=lambda one: one.name):
            self._use(members)
        if rules is None:
            self._policies.pop(key, None)
            self._by_namespace[namespace].pop(key, None)
        else:
            self._policies[key] = rules
            self._by_namespace.setdefault(namespace, {})[key] = rules
            for direction, accepts in rules.accepts.items():
                self._set_chain(chain_of(key, direction), accepts)
        for pod in sorted(self._pods_of.get(namespace, ())):
            self._isolate(pod)
        if rules is not None and len(self._policies) == 1 and old is None:
            for address in self._addresses:
                self.changes.add((KNOWN_PODS, address), "")
        elif rules is None and not self._policies:
            for address in self._addresses:
                self.changes.delete((KNOWN_PODS, address), "")
        for direction in old.accepts if old is not None else ():
            if rules is None or direction not in rules.accepts:
                self._delete_chain(chain_of(key, direction))
        for members in old.sets if old is not None else ():
            self._unuse(members)

    # Sets of members.

    def _use(self, members: MemberSet) -> None:
        self._users[members] += 1
        if self._users[members] > 1:
            return
        self._sets[members] = Counter()
        self._members[members] = {}
        self.changes.add_set(members.name, members.declaration)
        for key in self._candidates(members.scope):
            self._update_member(members, key)

    def _candidates(self, scope: Scope) -> list[str]:
        return [*(self._pods if scope.namespaces is not None else self._pods_of.get(scope.namespace, ()))]

    def _unuse(self, members: MemberSet) -> None:
        self._users[members] -= 1
        if self._users[members]:
            return
        del self._users[members]
        for key in [*self._members[members]]:
            self._contribute(members, key, None)
        del self._sets[members], self._members[members]
        self.changes.delete_set(members.name)

    def _update_member(self, members: MemberSet, key: str) -> None:
        pod = self._pods.get(key)
        if pod is not None and not members.scope.matches(pod, self._namespaces.get(pod.namespace) or {}):
            pod = None
        self._contribute(members, key, pod)

    def _contribute(self, members: MemberSet, key: str, pod: PodFacts | None) -> None:
        old = self._members[members].get(key)
        if old == pod:
            return
        counts = self._sets[members]
        for element in set(members.elements(pod)) if pod is not None else ():
            counts[element] += 1
            if counts[element] == 1:
                self.changes.add((members.name, element), "")
        for element in set(members.elements(old)) if old is not None else ():
            counts[element] -= 1
            if not counts[element]:
                del counts[element]
                self.changes.delete((members.name, element), "")
        if pod is None:
            self._members[members].pop(key, None)
        else:
            self._members[members][key] = pod

    # Isolation of pods.

    def _isolate(self, key: str) -> None:
        wanted = [*self._isolation(key)]
        current = self._isolated.get(key, [])
        if wanted == current:
            return
        chains = {value.removeprefix("goto "): value for _, _, value in wanted if value}
        for chain in chains:
            self._chain_users[chain] += 1
        for name, address, _ in current:
            self._claim((name, address), key, None)
        for name, address, value in wanted:
            self._claim((name, address), key, value)
        for chain in {value.removeprefix("goto ") for _, _, value in current if value}:
            self._chain_users[chain] -= 1
            if not self._chain_users[chain]:
                del self._chain_users[chain]
                self._delete_chain(chain)
        if wanted:
            self._isolated[key] = wanted
        else:
            self._isolated.pop(key, None)

    def _claim(self, element: Element, key: str, value: str | None) -> None:
        claims = self._claims.setdefault(element, {})
        before = next(reversed(claims.values()), None)
        claims.pop(key, None)
        if value is not None:
            claims[key] = value
        after = next(reversed(claims.values()), None)
        if after is None:
            del self._claims[element]
        if before != after:
            if before is not None:
                self.changes.delete(element, before)
            if after is not None:
                self.changes.add(element, after)

    def _isolation(self, key: str) -> Iterator[tuple[str, str, str]]:
        """Elements that isolate a pod; makes the chains that they lead to."""
        pod = self._pods.get(key)
        if pod is None:
            return
        found = False
        policies = self._by_namespace.get(pod.namespace) or {}
        selecting = sorted(name for name, rules in policies.items() if rules.subject.matches(pod, {}))
        for direction, map_name in MAPS.items():
            names = [name for name in selecting if direction in policies[name].accepts]
            if names:
                found = True
                chain = f"isolated_{direction.lower()}_{digest(' '.join(names))}"
                jumps = [f"jump {chain_of(name, direction)}" for name in names]
                self._set_chain(chain, (f"ip saddr . ip daddr @{OWN_NODE} accept", *jumps, "drop"))
                yield map_name, pod.address, f"goto {chain}"
        if found:
            # What a pod says to itself, and its node to it and it to its node, is always allowed.
            yield OWN_NODE, f"{pod.address} . {pod.address}", ""
            if pod.node_ip:
                yield OWN_NODE, f"{pod.node_ip} . {pod.address}", ""
                yield OWN_NODE, f"{pod.address} . {pod.node_ip}", ""

    # Chains.

    def _set_chain(self, name: str, rules: tuple[str, ...]) -> None:
        current = self._chains.get(name)
        if current == rules:
            return
        self._chains[name] = rules
        self.changes.set_chain(name, rules, is_new=current is None)

    def _delete_chain(self, name: str) -> None:
        del self._chains[name]
        self.changes.delete_chain(name)

    # Writing.

    def take_changes(self) -> TableChanges:
        """What changed since the last time."""
        changes, self.changes = self.changes, TableChanges()
        return changes

    def everything(self) -> TableChanges:
        """All of it, for an empty table."""
        whole = TableChanges()
        whole.sets.update((members.name, members.declaration) for members in self._sets)
        whole.chains.update(self._chains)
        whole.new_chains.update(self._chains)
        for members, elements in self._sets.items():
            whole.added.update(((members.name, element), "") for element in elements)
        whole.added.update((element, next(reversed(claims.values()))) for element, claims in self._claims.items())
        if self._policies:
            whole.added.update(((KNOWN_PODS, address), "") for address in self._addresses)
        return whole


def removal(table: str) -> str:
    """A transaction after which there is no such table, whether there was one or not."""
    return f"table ip {table} {{}}\ndelete table ip {table}\n"


def skeleton(table: str, *, dns_address: str, pods: str) -> str:
    """The table without any policy, as text that first removes an older one.

    Both directions of a connection between two pods pass here: what leaves a pod is checked against its egress
    first, then what arrives against the other's ingress. Every packet of the side that opened the connection is
    checked, not the first one only, so that a policy also ends connections that live. Cluster DNS answers on the
    node itself; a node's own agents are always allowed, and so is it.

    A pod's address is reported before its first container starts. Until it is known here, nothing goes to it or comes
    from it, so that a pod is isolated from its first moment on (as the page about NetworkPolicies asks for).
    """
    state = "ct direction reply accept\n    ct state related accept"
    return (
        removal(table)
        + f"""\
table ip {table} {{
  map ingress_pods {{ type ipv4_addr : verdict; }}
  map egress_pods {{ type ipv4_addr : verdict; }}
  set {OWN_NODE} {{ type ipv4_addr . ipv4_addr; }}
  set {KNOWN_PODS} {{ type ipv4_addr; }}
  chain egress {{
    type filter hook forward priority -20; policy accept;
    {state}
    ip saddr {pods} ip saddr != @{KNOWN_PODS} drop
    ip saddr vmap @egress_pods
  }}
  chain egress_to_nodes {{
    type filter hook input priority -20; policy accept;
    {state}
    ip daddr {dns_address} accept
    ip saddr {pods} ip saddr != @{KNOWN_PODS} drop
    ip saddr vmap @egress_pods
  }}
  chain ingress {{
    type filter hook forward priority -19; policy accept;
    {state}
    ip daddr {pods} ip daddr != @{KNOWN_PODS} drop
    ip daddr vmap @ingress_pods
  }}
}}
"""
    )
