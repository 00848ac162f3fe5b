"""Impersonation: `Impersonate-User` and its companions, for those who are allowed to act as others."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from multidict import CIMultiDictProxy

from orchestrator.apiserver.authorizer import Attributes, Authorizer, check
from orchestrator.apiserver.user import AUTHENTICATED_GROUP, User

EXTRA_PREFIX = "impersonate-extra-"
HEADERS = ("Impersonate-User", "Impersonate-Group", "Impersonate-Uid")
"""Any of them makes a request one on behalf of somebody; extras alone mean nothing."""


class NobodyImpersonated(Exception):
    """Groups, a uid or extras were asked for without a user; answered with a plain 500, as kube-apiserver does."""


def _requested(groups: tuple[str, ...], uid: str, extra: Mapping[str, tuple[str, ...]]) -> str:
    """The requested parts, as kube-apiserver prints the list of references that it makes of them."""
    references = [f"{{Group  {group}    }}" for group in groups]
    if uid:
        references.append(f"{{UID  {uid}  authentication.k8s.io/v1  }}")
    references += [
        f"{{UserExtra  {value}  authentication.k8s.io/v1  {key}}}" for key, values in extra.items() for value in values
    ]
    return f"requested [{' '.join(references)}] without impersonating a user"


def impersonated(authorizer: Authorizer, user: User, headers: CIMultiDictProxy[str]) -> User:
    """The user whom the headers name; Forbidden unless `user` may impersonate each part."""
    name = headers.get("Impersonate-User", "")
    groups = tuple(headers.getall("Impersonate-Group", ()))
    uid = headers.get("Impersonate-Uid", "")
    extra = {
        unquote(key[len(EXTRA_PREFIX) :].lower()): tuple(headers.getall(key))
        for key in headers
        if key.lower().startswith(EXTRA_PREFIX)
    }
    if not name:
        raise NobodyImpersonated(_requested(groups, uid, extra))
    service_account = name.removeprefix("system:serviceaccount:")
    if service_account != name and service_account.count(":") == 1:
        namespace, account = service_account.split(":")
        _check(authorizer, user, "serviceaccounts", account, namespace=namespace)
        if not groups:
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    else:
        _check(authorizer, user, "users", name)
    for group in headers.getall("Impersonate-Group", ()):
        _check(authorizer, user, "groups", group)
    if uid:
        _check(authorizer, user, "uids", uid, group="authentication.k8s.io")
    for key, values in extra.items():
        for value in values:
            _check(authorizer, user, "userextras", value, group="authentication.k8s.io", subresource=key)
    if name == "system:anonymous":
        groups = (*groups, "system:unauthenticated") if "system:unauthenticated" not in groups else groups
    elif AUTHENTICATED_GROUP not in groups:
        groups = (*groups, AUTHENTICATED_GROUP)
    return User(name, uid, groups, extra)


def _check(
    authorizer: Authorizer,
    user: User,
    resource: str,
    name: str,
    *,
    group: str = "",
    namespace: str = "",
    subresource: str = "",
) -> None:
    check(
        authorizer,
        Attributes(
            user=user,
            verb="impersonate",
            group=group,
            resource=resource,
            subresource=subresource,
            namespace=namespace,
            name=name,
        ),
    )
