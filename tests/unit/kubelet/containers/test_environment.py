"""Environment variables of containers."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.objects import Object
from orchestrator.kubelet.containers.environment import (
    ConfigurationError,
    EnvironmentSources,
    build_environment,
    expand,
    references_of,
    resource_value,
    service_variables,
)
from tests.unit.kubelet.pods import pod

# The table of the expansion rules in the Kubernetes docs ("Define Dependent Environment Variables").
EXPANSIONS = [
    ("$(A)", "1"), ("x$(A)y", "x1y"), ("$$(A)", "$(A)"), ("$(NO)", "$(NO)"), ("$$$(A)", "$1"), ("$$$$(A)", "$$(A)"),
    ("$(A)$(B)", "12"), ("$A", "$A"), ("$", "$"), ("$$", "$"), ("$(A", "$(A"), ("$()", "$()"), ("$(A))", "1)"),
    ("a$", "a$"), ("$(B)$", "2$"), ("$$A", "$A"), ("$x(A)", "$x(A)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), EXPANSIONS)
def test_expand(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


@given(st.text())
def test_text_without_dollars_is_never_changed(text: str) -> None:
    plain = text.replace("$", "")
    assert expand(plain, {"A": "1"}) == plain


@given(st.text())
def test_doubled_dollars_protect_any_text(text: str) -> None:
    assert expand(text.replace("$", "$$"), {"A": "1", "": "2"}) == text


@given(st.lists(st.sampled_from(["$", "(", ")", "A", "NO", "x"])))
def test_expansion_equals_a_regular_expression(parts: list[str]) -> None:
    text = "".join(parts)

    def replaced(match: re.Match[str]) -> str:
        found = match[0]
        if found == "$$":
            return "$"
        return {"A": "1"}.get(found[2:-1], found)

    assert expand(text, {"A": "1"}) == re.sub(r"\$\$|\$\([^)]*\)", replaced, text)


def variables(*env: Object, env_from: list[Object] | None = None, **sources: Any) -> dict[str, str]:
    container = {"name": "a", "image": "i", "env": [*env], "envFrom": env_from or []}
    return build_environment(pod(nodeName="n1"), container, EnvironmentSources(**sources))


CONFIG = {"data": {"k": "v", "1bad/key": "x", "l": "w"}}
SECRET = {"data": {"s": base64.b64encode(b"hidden").decode()}}


def test_later_variables_use_earlier_ones_and_win() -> None:
    found = variables(
        {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(C)"}, {"name": "C", "value": "3"},
        {"name": "A", "value": "2"},
    )  # fmt: skip
    assert found == {"A": "2", "B": "1$(C)", "C": "3"}


def test_env_from_with_prefix_takes_every_key_and_loses_against_env() -> None:
    found = variables(
        {"name": "P_k", "value": "own"},
        env_from=[{"prefix": "P_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}],
        config_maps={"c": CONFIG},
        secrets={"s": SECRET},
    )
    assert found == {"P_k": "own", "P_l": "w", "P_1bad/key": "x", "s": "hidden"}


@pytest.mark.parametrize(
    ("value_from", "message"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "k"}}, 'configmap "no" not found'),
        ({"configMapKeyRef": {"name": "c", "key": "no"}}, "couldn't find key no in ConfigMap ns/c"),
        ({"secretKeyRef": {"name": "no", "key": "k"}}, 'secret "no" not found'),
        ({"secretKeyRef": {"name": "s", "key": "no"}}, "couldn't find key no in Secret ns/s"),
    ],
)
def test_missing_references(value_from: Object, message: str) -> None:
    sources: dict[str, Any] = {"config_maps": {"c": CONFIG}, "secrets": {"s": SECRET}}
    with pytest.raises(ConfigurationError) as error:
        variables({"name": "A", "valueFrom": value_from}, **sources)
    assert str(error.value) == message
    ((kind, reference),) = value_from.items()
    optional = {kind: {**reference, "optional": True}}
    assert variables({"name": "A", "valueFrom": optional}, **sources) == {}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web"), ("metadata.namespace", "ns"), ("metadata.uid", "u1"), ("spec.nodeName", "n1"),
        ("status.podIP", "10.0.0.5"), ("status.hostIP", "192.0.2.1"), ("metadata.labels['app']", ""),
    ],
)  # fmt: skip
def test_downward_fields(path: str, value: str) -> None:
    found = variables(
        {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": path}}}, pod_ips=("10.0.0.5",), host_ips=("192.0.2.1",)
    )
    assert found == {"A": value}


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", None, "2"), ("limits.cpu", "1m", "1500"), ("limits.memory", "1Mi", "64"),
        ("requests.memory", "0", "33554432"), ("requests.cpu", None, "2"), ("limits.ephemeral-storage", "1Gi", "10"),
    ],
)  # fmt: skip
def test_resource_fields(resource: str, divisor: str | None, value: str) -> None:
    container = {"resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"memory": "32Mi"}}}
    assert resource_value(container, resource, divisor, {"ephemeral-storage": "10Gi"}) == value


def service(name: str, namespace: str = "ns", ip: str = "10.96.0.7", **port: Any) -> Object:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", **port}]
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": ports}}


def test_service_variables() -> None:
    found = service_variables([service("my-db"), service("headless", ip="None")], "ns", enable_links=True)
    assert found == {
        "MY_DB_SERVICE_HOST": "10.96.0.7",
        "MY_DB_SERVICE_PORT": "80",
        "MY_DB_SERVICE_PORT_HTTP": "80",
        "MY_DB_PORT": "tcp://10.96.0.7:80",
        "MY_DB_PORT_80_TCP": "tcp://10.96.0.7:80",
        "MY_DB_PORT_80_TCP_PROTO": "tcp",
        "MY_DB_PORT_80_TCP_PORT": "80",
        "MY_DB_PORT_80_TCP_ADDR": "10.96.0.7",
    }


def test_without_service_links_only_the_api_server_is_there() -> None:
    services = [service("kubernetes", "default", "10.96.0.1"), service("db")]
    hosts = {k for k in service_variables(services, "ns", enable_links=False) if k.endswith("_HOST")}
    assert hosts == {"KUBERNETES_SERVICE_HOST"}


def test_own_variables_use_and_hide_service_variables() -> None:
    found = variables(
        {"name": "URL", "value": "$(DB_SERVICE_HOST)"}, {"name": "DB_PORT", "value": "mine"}, services=[service("db")]
    )
    assert found["URL"] == "10.96.0.7"
    assert found["DB_PORT"] == "mine"


def test_references_are_those_that_the_environment_reads() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "c1"}}, {"secretRef": {"name": "s1"}}],
        "env": [
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c2", "key": "k"}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "k"}}},
        ],
    }
    assert references_of(container) == ({"c1", "c2"}, {"s1", "s2"})
