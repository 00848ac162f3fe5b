"""Increments lead exactly where writing everything anew leads."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.proxy.policy.model import PolicyModel
from orchestrator.proxy.policy.plan import PodFacts, plan_policy
from tests.unit.proxy.kernel import Kernel


def facts(number: int, namespace: str = "one", app: str = "a", port: int = 80, node: str = "172.30.0.2") -> PodFacts:
    return PodFacts(
        f"{namespace}/pod-{number}", namespace, f"10.244.0.{number}", node, {"app": app}, (("web", "TCP", port),)
    )


def policy(name: str, namespace: str = "one", **spec: Any) -> Any:
    return plan_policy({"metadata": {"name": name, "namespace": namespace}, "spec": {"podSelector": {}, **spec}})


def whole(model: PolicyModel) -> Any:
    kernel = Kernel()
    kernel.run(model.everything().text("t"))
    return kernel.state()


def test_pods_without_a_policy_are_nobodys_business() -> None:
    model = PolicyModel()
    model.set_pod("one/pod-1", facts(1))
    assert not model
    assert model.everything().text("t") == ""


def test_a_policy_isolates_the_pods_that_it_selects() -> None:
    model, kernel = PolicyModel(), Kernel()
    model.set_pod("one/pod-1", facts(1))
    model.set_pod("one/pod-2", facts(2, app="b"))
    model.set_pod("two/pod-3", facts(3, namespace="two"))
    model.set_policy("one/p", policy("p", podSelector={"matchLabels": {"app": "a"}}))
    kernel.run(model.take_changes().text("t"))
    assert [key for name, key in kernel.elements if name == "ingress_pods"] == ["10.244.0.1"]
    assert {key for name, key in kernel.elements if name == "own_node"} == {
        "10.244.0.1 . 10.244.0.1", "172.30.0.2 . 10.244.0.1", "10.244.0.1 . 172.30.0.2",
    }  # fmt: skip
    model.set_policy("one/p", None)
    kernel.run(model.take_changes().text("t"))
    assert kernel.state() == Kernel().state()


def test_peers_follow_labels_of_pods_and_namespaces() -> None:
    model, kernel = PolicyModel(), Kernel()
    model.set_namespace("two", {"team": "x"})
    model.set_pod("two/pod-3", facts(3, namespace="two"))
    peer = {"namespaceSelector": {"matchLabels": {"team": "x"}}, "podSelector": {"matchLabels": {"app": "a"}}}
    model.set_policy("one/p", policy("p", ingress=[{"from": [peer]}]))

    def members() -> list[str]:
        kernel.run(model.take_changes().text("t"))
        return [key for name, key in kernel.elements if name.startswith("pods_")]

    assert members() == ["10.244.0.3"]
    model.set_namespace("two", {})
    assert members() == []
    model.set_namespace("two", {"team": "x"})
    assert members() == ["10.244.0.3"]
    model.set_pod("two/pod-3", facts(3, namespace="two", app="b"))
    assert members() == []


_selectors = st.sampled_from([{}, {"matchLabels": {"app": "a"}}, {"matchLabels": {"app": "b"}}])
_peers = st.one_of(
    st.fixed_dictionaries({"podSelector": _selectors}),
    st.fixed_dictionaries({"namespaceSelector": st.sampled_from([{}, {"matchLabels": {"n": "1"}}])}),
    st.fixed_dictionaries({"podSelector": _selectors, "namespaceSelector": st.just({"matchLabels": {"n": "1"}})}),
)
_ports = st.sampled_from([{"port": "web"}, {"port": 80}, {"protocol": "UDP"}])
_lists = st.fixed_dictionaries(
    {}, optional={"from": st.lists(_peers, max_size=2), "ports": st.lists(_ports, max_size=2)}
)
_spec = st.builds(
    lambda selector, ingress, egress: {
        "podSelector": selector,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": [{"to": rule.get("from", []), "ports": rule.get("ports", [])} for rule in egress],
    },
    _selectors,
    st.lists(_lists, max_size=2),
    st.lists(_lists, max_size=2),
)
_steps = st.one_of(
    st.tuples(st.just("policy"), st.integers(1, 3), st.sampled_from(["one", "two"]), st.none() | _spec),
    st.tuples(
        st.just("pod"),
        st.integers(1, 3),
        st.sampled_from(["one", "two"]),
        st.none() | st.tuples(st.sampled_from("ab"), st.sampled_from([80, 81]), st.integers(1, 4)),
    ),
    st.tuples(
        st.just("namespace"), st.just(0), st.sampled_from(["one", "two"]), st.sampled_from([None, {}, {"n": "1"}])
    ),
    st.tuples(st.just("write"), st.just(0), st.just(""), st.none()),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(_steps, max_size=25))
def test_increments_lead_where_a_full_write_leads(steps: list[tuple[str, int, str, Any]]) -> None:
    model, kernel = PolicyModel(), Kernel()
    for what, number, namespace, value in [*steps, ("write", 0, "", None)]:
        if what == "policy":
            rules = None if value is None else policy(f"p{number}", namespace, **value)
            model.set_policy(f"{namespace}/p{number}", rules)
        elif what == "pod":
            pod = None
            if value is not None:
                app, port, address = value
                pod = PodFacts(
                    f"{namespace}/{number}", namespace, f"10.244.0.{address}", "172.30.0.2",
                    {"app": app}, (("web", "TCP", port),),
                )  # fmt: skip
            model.set_pod(f"{namespace}/{number}", pod)
        elif what == "namespace":
            model.set_namespace(namespace, value)
        else:
            kernel.run(model.take_changes().text("t"))
            assert whole(model) == kernel.state()
