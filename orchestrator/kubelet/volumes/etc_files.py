"""The files under /etc that a pod gets from its node: hosts, hostname, resolv.conf.

Pure functions. Mirrors the kubelet's `hostsFileContent` and pkg/kubelet/network/dns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.api.objects import Object, namespace_of
from orchestrator.kubelet.pod import is_host_network, spec_of

SEARCHES_MAX = 32
SEARCH_CHARS_MAX = 2048
NAMESERVERS_MAX = 3
RESOLVED_STUBS = frozenset(("127.0.0.53", "127.0.0.54"))


def hosts_file(
    ips: Sequence[str], hostname: str, domain: str, aliases: Iterable[Object], *, node_hosts: str | None = None
) -> str:  # fmt: skip
    """The content of /etc/hosts; `node_hosts` is the node's own file for a pod on the host network."""
    if node_hosts is not None:
        lines = ["# Kubernetes-managed hosts file (host network).", node_hosts.rstrip("\n")]
    else:
        lines = [
            "# Kubernetes-managed hosts file.",
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "fe00::0\tip6-localnet",
            "fe00::0\tip6-mcastprefix",
            "fe00::1\tip6-allnodes",
            "fe00::2\tip6-allrouters",
        ]
        for ip in ips:
            lines.append(f"{ip}\t{hostname}.{domain}\t{hostname}" if domain else f"{ip}\t{hostname}")
    entries = [f"{alias['ip']}\t{' '.join(alias.get('hostnames') or ())}".replace(" ", "\t") for alias in aliases]
    if entries:
        lines += ["", "# Entries added by HostAliases.", *entries]
    return "\n".join(lines) + "\n"


def resolver_config(pod: Object, *, cluster_dns: Sequence[str], cluster_domain: str, node_config: str) -> str:
    """The content of /etc/resolv.conf (Kubernetes docs, "DNS for Services and Pods").

    `node_config` is the node's own file; without `cluster_dns` the policy ClusterFirst falls back to it.
    """
    spec = spec_of(pod)
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and is_host_network(pod):
        policy = "Default"
    if policy == "ClusterFirstWithHostNet":
        policy = "ClusterFirst"
    if policy == "ClusterFirst" and not cluster_dns:
        policy = "Default"
    node_servers, node_searches, node_options = _parse(node_config)
    if policy == "ClusterFirst":
        own = [f"{namespace_of(pod)}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain]
        servers, searches, options = [*cluster_dns], [*own, *node_searches], ["ndots:5"]
    elif policy == "Default":
        servers, searches, options = node_servers, node_searches, node_options
    else:
        servers, searches, options = [], [], []
    extra = spec.get("dnsConfig") or {}
    servers = _unique([*servers, *(extra.get("nameservers") or ())])[:NAMESERVERS_MAX]
    searches = _limited(_unique([*searches, *(extra.get("searches") or ())]))
    merged = {option.partition(":")[0]: option for option in options}
    for option in extra.get("options") or ():
        name, value = option.get("name") or "", option.get("value")
        merged[name] = name if value is None else f"{name}:{value}"
    lines = []
    if searches:
        lines.append(f"search {' '.join(searches)}")
    lines += [f"nameserver {server}" for server in servers]
    if merged:
        lines.append(f"options {' '.join(merged.values())}")
    return "".join(f"{line}\n" for line in lines)


def is_stub_resolver(node_config: str) -> bool:
    """Whether this resolv.conf leads to the stub of systemd-resolved alone, which answers in one namespace only."""
    servers, _, _ = _parse(node_config)
    return bool(servers) and set(servers) <= RESOLVED_STUBS


def _parse(text: str) -> tuple[list[str], list[str], list[str]]:
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if not words:
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] == "search":
            searches = [word for word in words[1:] if word != "."]
        elif words[0] == "options":
            options = words[1:]
    return servers, searches, options


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _limited(searches: list[str]) -> list[str]:
    chosen: list[str] = []
    for search in searches[:SEARCHES_MAX]:
        if sum(len(s) + 1 for s in chosen) + len(search) > SEARCH_CHARS_MAX:
            break
        chosen.append(search)
    return chosen
