"""Who makes a request, as authentication found out (`authentication.k8s.io` UserInfo)."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field


class User(Struct, frozen=True):
    """A name, its groups, and what the authenticator adds."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """`authentication.k8s.io/v1` UserInfo."""
        info: dict[str, object] = {"username": self.name}
        if self.uid:
            info["uid"] = self.uid
        if self.groups:
            info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra.items()}
        return info


def service_account(namespace: str, name: str) -> User:
    """A service account as it is known by its token."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED_GROUP)
    return User(f"system:serviceaccount:{namespace}:{name}", groups=groups)


ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))
MASTERS_GROUP = "system:masters"
AUTHENTICATED_GROUP = "system:authenticated"
