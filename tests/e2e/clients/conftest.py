"""Fixtures of the tests with client libraries: one cluster of hollow nodes, a namespace for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client, config

from tests.e2e.orchestrator_process import OrchestratorProcess

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def hollow(start_orchestrator: Callable[..., OrchestratorProcess]) -> OrchestratorProcess:
    """A cluster of two hollow nodes, shared by all tests of client libraries."""
    return start_orchestrator("--nodes", "2", "--runtime", "hollow")


@pytest.fixture(scope="session")
def api(hollow: OrchestratorProcess) -> client.ApiClient:
    """The official client, with the administrator's kubeconfig."""
    return config.new_client_from_config(str(hollow.kubeconfig))


@pytest.fixture
def namespace(api: client.ApiClient) -> Iterator[str]:
    """A new namespace, deleted afterwards."""
    core = client.CoreV1Api(api)
    name = f"clients-{next(_numbers)}"
    core.create_namespace({"metadata": {"name": name}})
    yield name
    core.delete_namespace(name)


def widget_definition(plural: str, group: str = "clients.example.com") -> dict[str, Any]:
    """A CustomResourceDefinition whose kind has status and scale subresources."""
    kind = plural[:-1].capitalize()
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": plural[:-1], "kind": kind, "shortNames": [plural[:3]]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                    },
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": {
                                    "type": "object",
                                    "properties": {
                                        "replicas": {"type": "integer", "minimum": 0},
                                        "size": {"type": "string"},
                                    },
                                },
                                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                            },
                        }
                    },
                }
            ],
        },
    }
