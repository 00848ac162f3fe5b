"""Users and groups of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.kubelet.containers.spec import needs_accounts, security_of
from orchestrator.kubelet.images.accounts import Accounts, parse_accounts, read_accounts
from orchestrator.kubelet.runtime import Image
from tests.unit.kubelet.pods import pod

PASSWD = "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\napp:x:1000:1001::/:/bin/sh\n"
GROUP = "root:x:0:root\nextra:x:50000:app,root\nother:x:7:\n"


def image(user: str = "") -> Image:
    return Image("sha256:1", (), (), 1, user=user)


def test_users_are_known_by_name_and_number() -> None:
    accounts = parse_accounts(PASSWD, GROUP)
    assert accounts.groups_of("app") == accounts.groups_of("1000") == (50000,)
    assert accounts.groups_of("root") == (0, 50000)
    assert (accounts.primary_group("1000"), accounts.primary_group("5")) == (1001, 0)
    assert accounts.groups_of("5") == ()


def test_the_topmost_layer_that_says_anything_counts(tmp_path: Path) -> None:
    top, middle, bottom = (tmp_path / name for name in ("top", "middle", "bottom"))
    top.mkdir()
    for layer, group in ((middle, GROUP), (bottom, "")):
        (layer / "etc").mkdir(parents=True)
        (layer / "etc" / "group").write_text(group)
    (bottom / "etc" / "passwd").write_text(PASSWD)
    assert read_accounts((str(top), str(middle), str(bottom))).groups_of("app") == (50000,)


def test_a_link_out_of_the_image_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").symlink_to("/etc/passwd")
    assert read_accounts((str(tmp_path),)) == Accounts()


@pytest.mark.parametrize(
    ("image_user", "context", "policy", "user", "groups"),
    [
        ("", {"runAsUser": 1000}, "Merge", "1000", ("9",)),
        ("", {"runAsUser": 1000, "runAsGroup": 3}, "Merge", "1000:3", ("50000", "9")),
        ("app", {"runAsGroup": 3}, "Merge", "app:3", ("50000", "9")),
        ("app:7", {}, "Merge", "app:7", ("50000", "9")),
        ("", {}, "Merge", "", ("9",)),
        ("", {"runAsUser": 1000}, "Strict", "1000:1001", ("9",)),
        ("", {"runAsUser": 1000, "runAsGroup": 3}, "Strict", "1000:3", ("9",)),
        ("", {}, "Strict", "0:0", ("9",)),
        ("app", {}, "Strict", "app:1001", ("9",)),
    ],
)
def test_user_and_groups(
    image_user: str, context: dict[str, Any], policy: str, user: str, groups: tuple[str, ...]
) -> None:
    obj = pod(securityContext={**context, "supplementalGroups": [9], "supplementalGroupsPolicy": policy})
    accounts = parse_accounts(PASSWD, GROUP)
    container = obj["spec"]["containers"][0]
    found = security_of(obj, container, image(image_user), accounts=accounts)
    assert (found.user, found.groups) == (user, groups)
    if not needs_accounts(obj, container, image(image_user)):
        assert security_of(obj, container, image(image_user)) == found
