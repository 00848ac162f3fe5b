"""Zero values that Go's types cannot tell from absent ones are dropped; pointers keep what they were given."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.decode import decode
from orchestrator.api.errors import BadRequest
from orchestrator.api.schema import definition, definitions
from orchestrator.api.zero_values import ZERO_IS_UNSET

POD_SPEC = "io.k8s.api.core.v1.PodSpec"
CONTAINER = "io.k8s.api.core.v1.Container"
SERVICE_SPEC = "io.k8s.api.core.v1.ServiceSpec"
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def test_every_name_is_a_field_of_a_published_definition() -> None:
    kinds = {"string", "boolean", "integer", "number"}
    for name, fields in ZERO_IS_UNSET.items():
        node = definition(name)
        assert {node.properties[field].kind for field in fields} <= kinds, name
        assert not fields & node.required, name
    assert ZERO_IS_UNSET.keys() <= definitions().keys()


@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        (
            POD_SPEC,
            {"hostNetwork": False, "hostPID": True, "nodeName": "", "containers": []},
            {"hostPID": True, "containers": []},
        ),
        (
            POD_SPEC,
            {"automountServiceAccountToken": False, "containers": []},
            {"automountServiceAccountToken": False, "containers": []},
        ),
        (CONTAINER, {"name": "a", "tty": False, "workingDir": ""}, {"name": "a"}),
        (CONTAINER, {"name": ""}, {"name": ""}),
        ("io.k8s.api.core.v1.EnvVar", {"name": "A", "value": ""}, {"name": "A"}),
        (
            "io.k8s.api.core.v1.VolumeMount",
            {"name": "a", "mountPath": "", "readOnly": False},
            {"name": "a", "mountPath": ""},
        ),
        ("io.k8s.api.core.v1.SecretVolumeSource", {"secretName": "", "optional": False}, {"optional": False}),
        ("io.k8s.api.core.v1.HostPathVolumeSource", {"path": "/", "type": ""}, {"path": "/", "type": ""}),
        (SERVICE_SPEC, {"ports": [{"port": 1, "nodePort": 0, "name": ""}]}, {"ports": [{"port": 1}]}),
        ("io.k8s.api.apps.v1.DeploymentSpec", {"paused": False, "replicas": 0}, {"replicas": 0}),
        (OBJECT_META, {"name": "", "generateName": "x", "generation": 0}, {"generateName": "x"}),
        (
            "io.k8s.api.core.v1.PersistentVolumeClaimSpec",
            {"storageClassName": "", "volumeName": ""},
            {"storageClassName": ""},
        ),
    ],
)
def test_zero_is_unset_where_it_is_no_pointer(kind: str, given: dict[str, Any], kept: dict[str, Any]) -> None:
    decoded, _ = decode(given, definition(kind), field_validation="Strict", kind=kind.rpartition(".")[2])
    assert decoded == kept


def test_zero_of_a_wrong_type_is_still_refused() -> None:
    with pytest.raises(BadRequest, match="cannot unmarshal"):
        decode({"containers": [], "hostNetwork": ""}, definition(POD_SPEC), field_validation="Strict", kind="PodSpec")
