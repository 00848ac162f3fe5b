"""The rules of all Services: who owns which frontend, and every change as the text of one transaction.

Owns the layout of the table. `Ruleset.update` changes the model and notes the difference in `Changes`; the
difference, or the whole table, is what `nft` is fed. Never talks to the kernel. Mirrors the tables, maps and
chains of kube-proxy's nftables mode, but one map of targets, keyed by Service and number, takes the place of a chain
for each Service and endpoint: it takes a tenth of the time to program. A chain for each number of endpoints picks
one at random.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set

from msgspec import Struct, field

from orchestrator.proxy.changes import Element, TableChanges
from orchestrator.proxy.plan import AFFINITY_CLIENTS_MAX, Frontend, ServiceRules, Way
from orchestrator.proxy.topology import Target

NODE_PORTS = "_node_ports"
"""Ends the names of maps whose keys have no address."""
STANDING_PICKS = 8
"""Up to so many endpoints the chain that picks one is there from the start; chains for more come and go."""


ELEMENTS_MIN = 1024
"""What maps and sets have room for at least. With a size the kernel takes a table of fixed width, whose insertions
cost the same always; without one it takes a table that grows in the background, and one that fills faster than it grows
can cost ten times as much."""


def plan_sizes(counts: Mapping[str, int]) -> dict[str, int]:
    """Room for twice as many elements as each map has."""
    return {name: max(ELEMENTS_MIN, 1 << (2 * count - 1).bit_length()) for name, count in counts.items() if count > 0}


class Layout(Struct, frozen=True):
    """What the table is made for."""

    table: str
    bridge: str
    """The interface behind which the pods are."""
    services: str
    """The range of cluster IPs from the start."""
    local_address: str = ""
    """An address of this process that rules may lead to; empty: nothing is served on the addresses of nodes."""
    machine_address: str = ""
    """The machine's own address among the nodes, where what asks the loopback of a node arrives."""
    nodes: str = ""
    """The addresses of nodes, which may lie in namespaces of their own; node ports are on them too."""
    guarded: tuple[Frontend, ...] = ()
    """Listeners of this process that only pods and the machine itself may reach."""
    node_port: tuple[str, int] | None = None
    """Where the kubelets' server listens for what is sent to their port of the nodes."""


class StaleFlow(Struct, frozen=True):
    """UDP conversations that connection tracking still leads to where nobody is."""

    frontend: Frontend
    target: Target | None
    """None: those that were not translated at all."""


class Changes(TableChanges):
    """The difference between two states of the ruleset, and the conversations that it ends."""

    stale: list[StaleFlow] = field(default_factory=list)


def _affinity_set(seconds: int) -> str:
    return f"{{ type ipv4_addr; size {AFFINITY_CLIENTS_MAX}; flags dynamic,timeout; timeout {seconds}s; }}"


_NOTHING = ServiceRules()


class Ruleset:
    """The rules of all Services, by the Service's key."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.ranges: tuple[str, ...] = (layout.services,)
        """All ranges that cluster IPs come from; what nobody has there is dropped."""
        self._counts: Counter[str] = Counter()
        """Elements of each map."""
        self._sizes: dict[str, int] = {}
        """What the maps had room for when the table was written."""
        self._rules: dict[str, ServiceRules] = {}
        self._owners: dict[Frontend, tuple[str, ...]] = {}
        """Who claims a frontend; the first has it."""
        self._hairpins: Counter[str] = Counter()
        self._cluster_ips: Counter[str] = Counter()
        """Addresses that several Services may need, and how many do."""
        self._picks: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._rules)

    def __contains__(self, key: str) -> bool:
        return key in self._rules

    def keys(self) -> list[str]:
        """The Services that have rules."""
        return [*self._rules]

    def update(self, key: str, rules: ServiceRules | None, changes: Changes) -> None:
        """Replace the rules of one Service (None: it has none any more) and note the difference."""
        old = self._rules.get(key)
        if old == rules:
            return
        before, after = old or _NOTHING, rules or _NOTHING
        if before.chains or after.chains:
            self._update_chains(before, after, changes)
        if rules is None:
            self._rules.pop(key, None)
        else:
            self._rules[key] = rules
        frontends = {**before.frontends, **after.frontends} if before.frontends else after.frontends
        for frontend in frontends:
            had, wanted = before.frontends.get(frontend), after.frontends.get(frontend)
            owners = self._owners.get(frontend, ())
            if owners == ((key,) if had is not None else ()):  # nobody else claims it
                self._set_owners(frontend, (key,) if wanted is not None else ())
                self._update_frontend(frontend, had, wanted, changes)
            else:
                old_way = had if owners[0] == key else self._way(frontend)
                others = tuple(owner for owner in owners if owner != key)
                kept = owners if had is not None else (*others, key)
                self._set_owners(frontend, kept if wanted is not None else others)
                self._update_frontend(frontend, old_way, self._way(frontend), changes)
        for frontend in {*before.firewalls, *after.firewalls} if before.firewalls or after.firewalls else ():
            self._swap(_firewall(frontend, before), _firewall(frontend, after), changes)
        self._count(self._hairpins, "hairpin", before.addresses, after.addresses, changes)
        self._count(self._cluster_ips, "cluster_ips", before.cluster_ips, after.cluster_ips, changes)

    def count(self, changes: Changes) -> bool:
        """Take note of changes before they are written; False when they need more room than the table has."""
        for name, _ in changes.deleted:
            self._counts[name] -= 1
        for name, _ in changes.added:
            self._counts[name] += 1
        return all(count <= self._sizes.get(name, ELEMENTS_MIN) for name, count in self._counts.items())

    def empty_table(self) -> str:
        """One transaction that makes the table without any Service, with room for all of them."""
        self._sizes = plan_sizes(self._counts)
        return skeleton(self.layout, self.ranges, self._sizes)

    def text(self) -> str:
        """One transaction that puts the whole table in place of whatever has its name."""
        everything = Ruleset(self.layout)
        changes = Changes()
        # In the order of ownership, so that a frontend that two Services claim stays with the one that has it.
        for key, rules in self._rules.items():
            everything.update(key, rules, changes)
        for frontend, owners in self._owners.items():
            if len(owners) > 1 and everything._owners[frontend] != owners:
                current = everything._way(frontend)
                everything._owners[frontend] = owners
                everything._update_frontend(frontend, current, self._way(frontend), changes)
        return self.empty_table() + changes.text(self.layout.table)

    def conflicts(self) -> dict[Frontend, list[str]]:
        """Frontends that several Services claim; the first of them has it."""
        return {frontend: list(owners) for frontend, owners in self._owners.items() if len(owners) > 1}

    def _set_owners(self, frontend: Frontend, owners: tuple[str, ...]) -> None:
        if owners:
            self._owners[frontend] = owners
        else:
            self._owners.pop(frontend, None)

    def _way(self, frontend: Frontend) -> Way | None:
        owners = self._owners.get(frontend)
        return self._rules[owners[0]].frontends.get(frontend) if owners else None

    def _update_chains(self, before: ServiceRules, after: ServiceRules, changes: Changes) -> None:
        for name, rules in after.chains.items():
            if before.chains.get(name) != rules:
                changes.set_chain(name, rules, is_new=name not in before.chains)
        for name in before.chains.keys() - after.chains.keys():
            changes.delete_chain(name)
        for name in after.affinity_sets.keys() - before.affinity_sets.keys():
            changes.add_set(name, _affinity_set(after.affinity_sets[name]))
        for name in before.affinity_sets.keys() - after.affinity_sets.keys():
            changes.delete_set(name)

    def _update_frontend(self, frontend: Frontend, old: Way | None, new: Way | None, changes: Changes) -> None:
        if old == new:
            return
        self._use_picks(_picks(frontend, new), changes)
        if old is not None:
            self._swap(dict(_elements(frontend, old)), dict(_elements(frontend, new)), changes)
        else:
            for element, value in _elements(frontend, new):
                changes.add(element, value)
        self._unuse_picks(_picks(frontend, old), changes)
        if frontend.protocol == "udp":
            kept = set(new.targets) if new is not None else set()
            gone = [target for target in (old.targets if old is not None else ()) if target not in kept]
            changes.stale += [StaleFlow(frontend, target) for target in gone]
            if kept and (old is None or not old.targets):
                changes.stale.append(StaleFlow(frontend, None))

    def _use_picks(self, name: str, changes: Changes) -> None:
        if name and name not in _STANDING_CHAINS:
            self._picks[name] += 1
            if self._picks[name] == 1:
                changes.set_chain(name, (_pick_rule(name),), is_new=True)

    def _unuse_picks(self, name: str, changes: Changes) -> None:
        if name and name not in _STANDING_CHAINS:
            self._picks[name] -= 1
            if not self._picks[name]:
                del self._picks[name]
                changes.delete_chain(name)

    def _swap(self, old: dict[Element, str], new: dict[Element, str], changes: Changes) -> None:
        for element, value in old.items():
            if new.get(element) != value:
                changes.delete(element, value)
        for element, value in new.items():
            if old.get(element) != value:
                changes.add(element, value)

    def _count(self, users: Counter[str], name: str, before: Set[str], after: Set[str], changes: Changes) -> None:
        for address in after - before if before else after:
            users[address] += 1
            if users[address] == 1:
                changes.add((name, _shared_key(name, address)), "")
        for address in before - after:
            users[address] -= 1
            if not users[address]:
                del users[address]
                changes.delete((name, _shared_key(name, address)), "")


def _shared_key(name: str, address: str) -> str:
    return f"{address} . {address}" if name == "hairpin" else address


def _firewall(frontend: Frontend, rules: ServiceRules) -> dict[Element, str]:
    chain = rules.firewalls.get(frontend)
    return {("firewalls", _key(frontend)): f"jump {chain}"} if chain else {}


def _key(frontend: Frontend) -> str:
    start = f"{frontend.address} . " if frontend.address else ""
    return f"{start}{frontend.protocol} . {frontend.port}"


def _elements(frontend: Frontend, way: Way | None) -> Iterator[tuple[Element, str]]:
    if way is None:
        return
    key = _key(frontend)
    suffix = "" if frontend.address else NODE_PORTS
    if way.chain:
        yield (f"ways{suffix}", key), f"goto {way.chain}"
        if way.drops_rest:
            yield (f"refused{suffix}", key), "drop"
    elif picks := _picks(frontend, way):
        yield (f"ways{suffix}", key), f"goto {picks}"
        for number, (address, port) in enumerate(way.targets):
            yield (f"targets{suffix}", f"{key} . {number}"), f"{address} . {port}"
    elif not way.targets and not way.is_cluster_ip:  # a cluster IP refuses every port that leads nowhere
        yield (f"refused{suffix}", key), "goto refuse"


def _picks(frontend: Frontend, way: Way | None) -> str:
    """The chain that picks one of so many targets at random; empty when nothing is to be picked."""
    if way is None or way.chain or not way.targets:
        return ""
    if way.targets == ((frontend.address, frontend.port),):
        return ""  # it listens on its Service's own address: nothing to translate
    return _pick_chain("" if frontend.address else NODE_PORTS, len(way.targets))


def _pick_chain(suffix: str, count: int) -> str:
    return f"pick{suffix}_{count}"


_STANDING_CHAINS = dict.fromkeys(
    _pick_chain(suffix, count) for suffix in ("", NODE_PORTS) for count in range(1, STANDING_PICKS + 1)
)


def is_pick_chain(name: str) -> bool:
    """It picks one of so many targets; all others belong to single Services."""
    return name.startswith("pick_")


def _pick_rule(name: str) -> str:
    count = name.rpartition("_")[2]
    is_node_port = name.startswith(f"pick{NODE_PORTS}_")
    key = "meta l4proto . th dport" if is_node_port else "ip daddr . meta l4proto . th dport"
    targets = f"targets{NODE_PORTS}" if is_node_port else "targets"
    return f"meta l4proto {{ tcp, udp, sctp }} dnat ip to {key} . numgen random mod {count} map @{targets}"


_SETS = {
    "map targets": "typeof ip daddr . meta l4proto . th dport . numgen random mod 2 : ip daddr . th dport",
    f"map targets{NODE_PORTS}": "typeof meta l4proto . th dport . numgen random mod 2 : ip daddr . th dport",
    "map ways": "type ipv4_addr . inet_proto . inet_service : verdict",
    f"map ways{NODE_PORTS}": "type inet_proto . inet_service : verdict",
    "map refused": "type ipv4_addr . inet_proto . inet_service : verdict",
    f"map refused{NODE_PORTS}": "type inet_proto . inet_service : verdict",
    "map firewalls": "type ipv4_addr . inet_proto . inet_service : verdict",
    "set cluster_ips": "type ipv4_addr",
    "set hairpin": "type ipv4_addr . ipv4_addr",
}
"""All that grows with Services, and its type."""


def skeleton(layout: Layout, ranges: Sequence[str] = (), sizes: Mapping[str, int] = {}) -> str:
    """The table without any Service, as text that first removes an older one.

    Translation stands behind the host ports of pods (priority -105). Refusals come after translation: what
    still carries a Service's address then leads nowhere. They come before routing, because a packet that is
    routed back to the bridge counts as an ICMP redirect, and the kernel's limit on those would swallow the
    refusal. The source address of a client is kept except where a pod reaches itself, so that answers come back
    through the bridge's address.

    A packet of a pod that belongs to no connection is dropped: it would not be translated back, the client would
    answer the pod's own address with a reset, and that would end a connection that is fine.
    """
    table, bridge = layout.table, layout.bridge
    protocols = "meta l4proto { tcp, udp, sctp }"
    machine = "fib daddr type local ip daddr != 127.0.0.0/8"

    def nodes(action: str) -> str:
        return f"\n    ip daddr {layout.nodes} {action}" if layout.nodes else ""

    declarations = "\n".join(
        f"  {kind} {{ {type_}; size {sizes.get(kind.partition(' ')[2], ELEMENTS_MIN)}; }}"
        for kind, type_ in _SETS.items()
    )

    guarded = ", ".join(_key(frontend) for frontend in layout.guarded)
    picks = "\n".join(f"  chain {name} {{ {_pick_rule(name)}; }}" for name in _STANDING_CHAINS)
    guard_elements = f" elements = {{ {guarded} }}" if guarded else ""
    return f"""\
table ip {table} {{}}
delete table ip {table}
table ip {table} {{
{declarations}
  set guarded {{ type ipv4_addr . inet_proto . inet_service;{guard_elements} }}
{picks}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmp port-unreachable
  }}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @ways
    {machine} goto node_ports{nodes("goto node_ports")}
  }}
  chain node_ports {{
    meta l4proto . th dport vmap @ways_node_ports
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    {protocols} jump services
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    {protocols} jump services
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    oifname "{bridge}" ip saddr . ip daddr @hairpin masquerade
  }}
  chain unserved {{
    ip daddr . meta l4proto . th dport vmap @refused
    {machine} meta l4proto . th dport vmap @refused_node_ports\
{nodes("meta l4proto . th dport vmap @refused_node_ports")}
    fib daddr type local return
    ip daddr @cluster_ips goto refuse
    ip daddr {{ {", ".join(ranges or (layout.services,))} }} drop
  }}
  chain filter_prerouting {{
    type filter hook prerouting priority -110; policy accept;
    ct state new {protocols} ip daddr . meta l4proto . th dport vmap @firewalls
  }}
  chain filter_output_before {{
    type filter hook output priority -110; policy accept;
    ct state new {protocols} ip daddr . meta l4proto . th dport vmap @firewalls
  }}
  chain filter_prerouting_after {{
    type filter hook prerouting priority -90; policy accept;
    ct state new {protocols} jump unserved
  }}
  chain filter_input {{
    type filter hook input priority -90; policy accept;
    iifname != {{ "lo", "{bridge}" }} ip daddr . meta l4proto . th dport @guarded drop
  }}
  chain filter_forward {{
    type filter hook forward priority 0; policy accept;
    iifname "{bridge}" ct state invalid drop
  }}
  chain filter_output {{
    type filter hook output priority -90; policy accept;
    ct state new {protocols} jump unserved
  }}
}}
"""
