"""Which components kube-system shows, and which tasks and loggers are theirs."""

from __future__ import annotations

import pytest

from orchestrator.cluster.system_components import LABELS, OWNERS, plan_components
from orchestrator.config import Config


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, ["etcd", "kube-apiserver"]),
        ({"controllers": True}, ["etcd", "kube-apiserver", "kube-controller-manager"]),
        ({"scheduler": True}, ["etcd", "kube-apiserver", "kube-scheduler"]),
        ({"proxy_mode": "nftables"}, ["coredns", "etcd", "kube-apiserver", "kube-proxy"]),
    ],
)
def test_what_runs_is_shown(parts: dict[str, object], expected: list[str]) -> None:
    chosen: dict[str, object] = {"controllers": False, "scheduler": False, "proxy_mode": "", **parts}
    assert sorted(plan_components(Config(), api_address=None, **chosen)) == expected  # type: ignore[arg-type]


def test_flags_say_what_is_true() -> None:
    config = Config(service_cidr="10.97.0.0/16", pod_cidr="10.250.0.0/16", controllers=("*", "-cronjob"))
    planned = plan_components(
        config, api_address=("192.0.2.1", 6443), controllers=True, scheduler=True, proxy_mode="userspace"
    )
    assert planned["kube-apiserver"] == {
        "authorization-mode": "Node,RBAC",
        "service-cluster-ip-range": "10.97.0.0/16",
        "advertise-address": "192.0.2.1",
        "secure-port": "6443",
    }
    assert planned["kube-controller-manager"]["controllers"] == "*,-cronjob"
    assert planned["kube-proxy"] == {"proxy-mode": "userspace", "cluster-cidr": "10.250.0.0/16"}


def test_every_component_has_labels_and_somewhere_to_log() -> None:
    assert LABELS.keys() == set(OWNERS.values())
