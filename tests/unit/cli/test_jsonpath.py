"""kubectl's JSONPath: the examples of its documentation, and what goes wrong."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.jsonpath import JSONPathError, Template

PODS = {
    "kind": "List",
    "items": [
        {
            "kind": "Pod",
            "metadata": {"name": "web-1", "labels": {"app": "web", "app.kubernetes.io/name": "shop"}},
            "status": {
                "phase": "Running",
                "restarts": 2,
                "ready": True,
                "ips": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}],
            },
        },
        {
            "kind": "Pod",
            "metadata": {"name": "web-2", "labels": {"app": "web"}},
            "status": {"phase": "Pending", "restarts": 0, "ready": False, "ips": []},
        },
    ],
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{.kind}", "List"),
        ("kind is {.kind}", "kind is List"),
        ("{$.kind}", "List"),
        ("{['kind']}", "List"),
        ("{.items[0].metadata.name}", "web-1"),
        ("{.items[-1].metadata.name}", "web-2"),
        ("{.items[*].metadata.name}", "web-1 web-2"),
        ("{.items[*]['metadata.name', 'kind']}", "Pod Pod"),
        ("{.items[*].metadata['name']}", "web-1 web-2"),
        ("{.items[0:1].metadata.name}", "web-1"),
        ("{.items[:].metadata.name}", "web-1 web-2"),
        ("{.items[::2].metadata.name}", "web-1"),
        ("{..ip}", "10.0.0.1 10.0.0.2"),
        ("{.items[*].status.ips[*].ip}", "10.0.0.1 10.0.0.2"),
        ('{.items[?(@.status.phase=="Running")].metadata.name}', "web-1"),
        ("{.items[?(@.status.phase != 'Running')].metadata.name}", "web-2"),
        ("{.items[?(@.status.restarts>1)].metadata.name}", "web-1"),
        ("{.items[?(@.status.ready==true)].metadata.name}", "web-1"),
        ("{.items[?(@.status.ips[0])].metadata.name}", "error"),
        ("{.items[?(@.metadata.labels)].metadata.name}", "web-1 web-2"),
        (r"{.items[*].metadata.labels.app\.kubernetes\.io/name}", "shop"),
        ("{.items[*].metadata.labels['app\\.kubernetes\\.io/name']}", ""),
        ("{.items[0].metadata.labels['app.kubernetes.io/name']}", "shop"),
        ('{range .items[*]}{.metadata.name}{"\\t"}{.status.phase}{"\\n"}{end}', "web-1\tRunning\nweb-2\tPending\n"),
        ("{range .items[*]}{range .status.ips[*]}{.ip},{end};{end}", "10.0.0.1,10.0.0.2,;;"),
        ("{.items[0].status.restarts}{' '}{.items[0].status.ready}", "2 true"),
        ("{.items[0].metadata.labels}", '{"app":"web","app.kubernetes.io/name":"shop"}'),
        ("{.missing.field}", ""),
        ("{.items[*].missing}", ""),
        ("no template at all", "no template at all"),
        ("", ""),
    ],
)
def test_templates(template: str, expected: str) -> None:
    if expected == "error":
        with pytest.raises(JSONPathError, match="out of bounds"):
            Template(template).render(PODS)
    else:
        assert Template(template).render(PODS) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{.items[0",
        "{.items",
        "{range .items[*]}{.kind}",
        "{end}",
        "{.items[x]}",
        '{"open}',
        "{.items[?(@.a]}",
        "{.a[1:2:0]}",
    ],
)
def test_what_is_not_a_template_is_refused(template: str) -> None:
    with pytest.raises(JSONPathError):
        Template(template).render(PODS)


@given(st.text(alphabet="{}[]().?@$'\"\\*:,=<>ab01 -", max_size=30))
def test_any_text_is_rendered_or_refused(source: str) -> None:
    with contextlib.suppress(JSONPathError):
        Template(source).render(PODS)


@given(st.lists(st.from_regex(r"[a-z][a-z0-9./-]{0,8}", fullmatch=True), min_size=1, max_size=4))
def test_escaped_names_lead_to_the_field(names: list[str]) -> None:
    value: object = "found"
    for name in reversed(names):
        value = {name: value}
    path = "".join("." + name.replace(".", r"\.") for name in names)
    assert Template("{" + path + "}").render(value) == "found"
