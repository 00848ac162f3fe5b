"""What a policy rule allows, and whether some rules cover others; pure.

Source: "Using RBAC Authorization" on kubernetes.io. Nothing here knows of roles, bindings or users.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

ALL = "*"
SETS_MAX = 512


class Rule(Struct, frozen=True):
    """One `PolicyRule`, compiled for matching."""

    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    """Empty: every name."""
    urls: tuple[str, ...] = ()

    def allows_verb(self, verb: str) -> bool:
        return verb in self.verbs or ALL in self.verbs

    def allows_resource(self, verb: str, group: str, resource: str, subresource: str, name: str) -> bool:
        """Whether this rule allows a verb on a resource, or on one of its subresources."""
        if not (verb in self.verbs or ALL in self.verbs):
            return False
        if not (group in self.groups or ALL in self.groups):
            return False
        return self.names_resource(resource, subresource) and (not self.names or name in self.names)

    def names_resource(self, resource: str, subresource: str) -> bool:
        """Whether the rule is about a resource: `pods`, `pods/log`, `*/scale` or `*`."""
        resources = self.resources
        if ALL in resources:
            return True
        if not subresource:
            return resource in resources
        return f"{resource}/{subresource}" in resources or f"*/{subresource}" in resources

    def allows_url(self, verb: str, path: str) -> bool:
        """Whether this rule allows a verb on a path that is no resource."""
        return bool(self.urls) and self.allows_verb(verb) and any(url_matches(url, path) for url in self.urls)


def url_matches(pattern: str, path: str) -> bool:
    """`*`, an exact path, or a prefix that ends with `*`."""
    return pattern in (ALL, path) or (pattern.endswith(ALL) and path.startswith(pattern.rstrip(ALL)))


def compile_rule(rule: dict[str, Any]) -> Rule:
    """A rule of the API, ready for matching."""
    return Rule(
        verbs=_set_of(*(rule.get("verbs") or ())),
        groups=_set_of(*(rule.get("apiGroups") or ())),
        resources=frozenset(rule.get("resources") or ()),
        names=frozenset(rule.get("resourceNames") or ()),
        urls=tuple(rule.get("nonResourceURLs") or ()),
    )


@lru_cache(maxsize=SETS_MAX)
def _set_of(*texts: str) -> frozenset[str]:
    """A set, held once: hundreds of rules name the same verbs, and most one of few groups."""
    return frozenset(texts)


def compile_rules(rules: Iterable[dict[str, Any]] | None) -> tuple[Rule, ...]:
    """The rules of a role, ready for matching."""
    return tuple(compile_rule(rule) for rule in rules or ())


# Escalation: nobody may hand out what he does not have.


def uncovered(owned: Sequence[Rule], wanted: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts of `wanted` that `owned` does not cover, each a rule of one group, resource, name and verb."""
    return [part for rule in wanted for part in _split(rule) if not _covers(owned, part)]


def _split(rule: dict[str, Any]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    verbs = rule.get("verbs") or ()
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in verbs:
                part = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                names = rule.get("resourceNames") or ()
                parts += [{**part, "resourceNames": [name]} for name in names] if names else [part]
    parts += [
        {"verbs": [verb], "nonResourceURLs": [url]} for url in rule.get("nonResourceURLs") or () for verb in verbs
    ]
    return parts


def _covers(owned: Sequence[Rule], part: dict[str, Any]) -> bool:
    verb = part["verbs"][0]
    if "nonResourceURLs" in part:
        url = part["nonResourceURLs"][0]
        return any(rule.allows_verb(verb) and any(_url_covers(have, url) for have in rule.urls) for rule in owned)
    group, resource = part["apiGroups"][0], part["resources"][0]
    name = part.get("resourceNames", [""])[0]
    _, _, subresource = resource.partition("/")
    names = {ALL, resource, f"*/{subresource}"} if subresource else {ALL, resource}
    return any(
        rule.allows_verb(verb)
        and (group in rule.groups or ALL in rule.groups)
        and not names.isdisjoint(rule.resources)
        and (not rule.names or (bool(name) and name in rule.names))
        for rule in owned
    )


def _url_covers(have: str, wanted: str) -> bool:
    return have in (ALL, wanted) or (have.endswith(ALL) and wanted.startswith(have.rstrip(ALL)))


def compact(rules: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rules about one resource each and the same names, joined to one with all their verbs."""
    joined: dict[tuple[Any, ...], dict[str, Any]] = {}
    compacted: list[dict[str, Any]] = []
    for rule in rules:
        groups: list[str] = rule.get("apiGroups") or []
        resources: list[str] = rule.get("resources") or []
        if len(groups) != 1 or len(resources) != 1 or rule.get("nonResourceURLs"):
            compacted.append(rule)
            continue
        key = (groups[0], resources[0], tuple(rule.get("resourceNames") or ()))
        known = joined.get(key)
        if known is None:
            known = joined[key] = {**rule, "verbs": list(rule["verbs"])}
            compacted.append(known)
        else:
            known["verbs"] += [verb for verb in rule["verbs"] if verb not in known["verbs"]]
    return compacted


def describe(rule: dict[str, Any]) -> str:
    """A rule in one line, as messages about escalation show it."""
    shown = []
    for label, field in (
        ("APIGroups", "apiGroups"),
        ("Resources", "resources"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("ResourceNames", "resourceNames"),
        ("Verbs", "verbs"),
    ):
        if rule.get(field):
            shown.append(f"{label}:{quoted_list(rule[field])}")
    return "{" + ", ".join(shown) + "}"


def quoted_list(texts: Iterable[str]) -> str:
    """`["a" "b"]`, as Go prints a list of quoted strings."""
    return "[" + " ".join(f'"{text}"' for text in texts) + "]"
