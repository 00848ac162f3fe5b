"""What volumes allow, as tables: bindings, zones, limits, exclusive use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.api.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    Resource,
)
from orchestrator.scheduler.algorithm import evaluate
from orchestrator.scheduler.cache import Cache
from orchestrator.scheduler.framework import Cycle, NoListers
from orchestrator.scheduler.planner import Planner, Refused
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.profile import default_profile
from tests.unit.scheduler.builders import HOST, ZONE, make_cache, make_node, make_pod

PROFILE = default_profile()
OLD_ZONE = "failure-domain.beta.kubernetes.io/zone"


class Objects(NoListers):
    """The objects of a test, by resource and key."""

    def __init__(self, **objects: Sequence[Object]) -> None:
        names = {
            "claims": PERSISTENT_VOLUME_CLAIMS,
            "volumes": PERSISTENT_VOLUMES,
            "classes": STORAGE_CLASSES,
            "csi_nodes": CSI_NODES,
            "drivers": CSI_DRIVERS,
            "capacities": CSI_STORAGE_CAPACITIES,
        }
        self._objects = {names[name]: list(items) for name, items in objects.items()}

    def list(self, resource: Resource) -> Sequence[Object]:
        return self._objects.get(resource, ())

    def find(self, resource: Resource, key: str) -> Object | None:
        for obj in self.list(resource):
            metadata = obj["metadata"]
            if key == (f"{metadata['namespace']}/{metadata['name']}" if "namespace" in metadata else metadata["name"]):
                return obj
        return None

    def volumes_of_class(self, name: str) -> Sequence[Object]:
        return [v for v in self.list(PERSISTENT_VOLUMES) if v["spec"].get("storageClassName", "") == name]


def claim(name: str = "c", *, bound_to: str = "", mode: str = "ReadWriteOnce", **metadata: Any) -> Object:
    annotations = metadata.pop("annotations", {})
    if bound_to:
        annotations = {**annotations, "pv.kubernetes.io/bind-completed": "yes"}
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "annotations": annotations,
            **metadata,
        },
        "spec": {
            "accessModes": [mode],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "late",
            "volumeName": bound_to,
        },
        "status": {"phase": "Bound" if bound_to else "Pending"},
    }


def volume(name: str = "v", *, nodes: Sequence[str] = (), labels: dict[str, str] | None = None, **spec: Any) -> Object:
    full = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "late",
        **spec,
    }
    if nodes:
        expression = {"key": HOST, "operator": "In", "values": [*nodes]}
        full["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": full, "status": {"phase": "Available"}}


def late(provisioner: str = "kubernetes.io/no-provisioner", **more: Any) -> Object:
    name = {"name": "late"}
    return {"metadata": name, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer", **more}


def using(*claims: str, name: str = "p", **spec: Any) -> Object:
    volumes = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in claims]
    return make_pod(name, volumes=volumes, **spec)


def two_nodes(*pods: Object) -> Cache:
    nodes = [make_node("a", labels={ZONE: "x"}), make_node("b", labels={ZONE: "y"})]
    return make_cache(nodes, list(pods))


def refusals(objects: Objects, pod: Object, cache: Cache | None = None) -> dict[str, str]:
    """By node why it is refused; `*` when no node is even looked at."""
    result = evaluate(PROFILE, Cycle(PodInfo(pod), cache or two_nodes(), objects))
    if result.refused_everywhere is not None:
        return {"*": ", ".join(result.refused_everywhere.reasons)}
    return {name: ", ".join(verdict.reasons) for name, verdict in sorted(result.refused.items())}


NO_VOLUME = "node(s) didn't find available persistent volumes to bind"
ELSEWHERE = "node(s) didn't match PersistentVolume's node affinity"


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        pytest.param({}, {"*": 'persistentvolumeclaim "c" not found'}, id="missing"),
        pytest.param(
            {"claims": [{**claim(bound_to="v"), "status": {"phase": "Lost"}}]},
            {"*": 'persistentvolumeclaim "c" bound to non-existent persistentvolume "v"'},
            id="lost",
        ),
        pytest.param(
            {"claims": [claim(deletionTimestamp="2026-01-01T00:00:00Z")]},
            {"*": 'persistentvolumeclaim "c" is being deleted'},
            id="terminating",
        ),
        pytest.param(
            {"claims": [claim()]},
            {"*": "pod has unbound immediate PersistentVolumeClaims"},
            id="immediate",
        ),
        pytest.param({"claims": [claim(bound_to="v")], "volumes": [volume()]}, {}, id="bound-anywhere"),
        pytest.param(
            {"claims": [claim(bound_to="v")], "volumes": [volume(nodes=["b"])]}, {"a": ELSEWHERE}, id="bound-on-b"
        ),
        pytest.param(
            {"claims": [claim(bound_to="v")]},
            dict.fromkeys("ab", "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
            id="bound-to-nothing",
        ),
        pytest.param(
            {"claims": [claim()], "classes": [late()], "volumes": [volume(nodes=["a"])]},
            {"b": NO_VOLUME},
            id="late-static",
        ),
        pytest.param(
            {"claims": [claim()], "classes": [late()], "volumes": [volume(capacity={"storage": "1Mi"})]},
            dict.fromkeys("ab", NO_VOLUME),
            id="late-too-small",
        ),
        pytest.param({"claims": [claim()], "classes": [late("csi.example.com")]}, {}, id="late-dynamic"),
        pytest.param(
            {
                "claims": [claim(annotations={"volume.kubernetes.io/selected-node": "b"})],
                "classes": [late("csi.example.com")],
            },
            {"a": NO_VOLUME},
            id="late-chosen",
        ),
        pytest.param(
            {
                "claims": [claim()],
                "classes": [
                    late(
                        "csi.example.com",
                        allowedTopologies=[{"matchLabelExpressions": [{"key": ZONE, "values": ["x"]}]}],
                    )
                ],
            },
            {"b": NO_VOLUME},
            id="late-allowed-topology",
        ),
        pytest.param(
            {
                "claims": [claim()],
                "classes": [late("csi.example.com")],
                "drivers": [{"metadata": {"name": "csi.example.com"}, "spec": {"storageCapacity": True}}],
                "capacities": [
                    {
                        "metadata": {"name": "one", "namespace": "kube-system"},
                        "storageClassName": "late",
                        "capacity": "2Gi",
                        "nodeTopology": {"matchLabels": {ZONE: "y"}},
                    }
                ],
            },
            {"a": "node(s) did not have enough free storage"},
            id="late-capacity",
        ),
        pytest.param(
            {"claims": [claim(bound_to="v")], "volumes": [volume(labels={ZONE: "x"})]},
            {"b": "node(s) had no available volume zone"},
            id="zone",
        ),
        pytest.param(
            {"claims": [claim(bound_to="v")], "volumes": [volume(labels={ZONE: "x__y"})]}, {}, id="several-zones"
        ),
        pytest.param(
            {
                "claims": [claim(bound_to="v")],
                "volumes": [volume(labels={OLD_ZONE: "y"})],
            },
            {"a": "node(s) had no available volume zone"},
            id="old-zone-label",
        ),
    ],
)
def test_one_claim(objects: dict[str, Any], expected: dict[str, str]) -> None:
    assert refusals(Objects(**objects), using("c")) == expected


def test_nodes_without_zones_take_volumes_of_any() -> None:
    objects = Objects(claims=[claim(bound_to="v")], volumes=[volume(labels={ZONE: "x"})])
    assert refusals(objects, using("c"), make_cache([make_node("bare")])) == {}


def test_two_claims_of_a_pod_need_two_volumes() -> None:
    objects = Objects(
        claims=[claim("c"), claim("d")],
        classes=[late()],
        volumes=[volume("v", nodes=["a", "b"]), volume("w", nodes=["b"])],
    )
    assert refusals(objects, using("c", "d")) == {"a": NO_VOLUME}


def test_a_promised_volume_is_not_free_until_it_is_released() -> None:
    cache = two_nodes()
    objects = Objects(claims=[claim("c"), claim("d")], classes=[late()], volumes=[volume("v", nodes=["a"])])
    planner = Planner(PROFILE, cache, listers=objects)
    (reservation,) = planner.reserve(PodInfo(using("c")), cache.nodes["a"]).values()
    assert refusals(objects, using("d"), cache) == dict.fromkeys("ab", NO_VOLUME)
    assert refusals(objects, using("c", name="same"), cache) == {"b": NO_VOLUME}
    reservation.release()
    assert refusals(objects, using("d"), cache) == {"b": NO_VOLUME}


def ephemeral(owner: str) -> Objects:
    reference = {"kind": "Pod", "name": "p", "uid": owner, "controller": True, "apiVersion": "v1"}
    return Objects(claims=[claim("p-scratch", bound_to="v", ownerReferences=[reference])], volumes=[volume()])


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        (Objects(), 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-scratch"'),
        (ephemeral("other"), "PVC default/p-scratch was not created for pod default/p (pod is not owner)"),
        (ephemeral("uid-default-p"), ""),
    ],
)
def test_the_claim_of_an_ephemeral_volume(objects: Objects, expected: str) -> None:
    pod = make_pod(volumes=[{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}])
    assert refusals(objects, pod) == ({"*": expected} if expected else {})


def test_a_claim_for_one_pod_and_preemption_of_its_user() -> None:
    objects = Objects(claims=[claim(bound_to="v", mode="ReadWriteOncePod")], volumes=[volume()])
    cache = two_nodes(using("c", name="user", node="a"))
    reason = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    assert refusals(objects, using("c"), cache) == dict.fromkeys("ab", reason)
    decision = Planner(PROFILE, cache, listers=objects).plan(PodInfo(using("c", priority=10)))
    assert isinstance(decision, Refused)
    assert decision.preemption is not None
    assert [victim.name for victim in decision.preemption.victims] == ["user"]
    cache.remove_pod("uid-default-user")
    assert refusals(objects, using("c"), cache) == {}


@pytest.mark.parametrize(
    ("used", "wanted", "conflict"),
    [
        ({"awsElasticBlockStore": {"volumeID": "1"}}, {"awsElasticBlockStore": {"volumeID": "1"}}, True),
        ({"awsElasticBlockStore": {"volumeID": "1"}}, {"awsElasticBlockStore": {"volumeID": "2"}}, False),
        ({"gcePersistentDisk": {"pdName": "d"}}, {"gcePersistentDisk": {"pdName": "d", "readOnly": True}}, True),
        (
            {"gcePersistentDisk": {"pdName": "d", "readOnly": True}},
            {"gcePersistentDisk": {"pdName": "d", "readOnly": True}},
            False,
        ),
        ({"iscsi": {"iqn": "i"}}, {"iscsi": {"iqn": "i"}}, True),
        (
            {"rbd": {"monitors": ["m"], "pool": "p", "image": "i"}},
            {"rbd": {"monitors": ["m"], "pool": "p", "image": "i"}},
            True,
        ),
        ({"emptyDir": {}}, {"emptyDir": {}}, False),
    ],
)
def test_disks_of_one_pod_on_a_node(used: Object, wanted: Object, conflict: bool) -> None:
    cache = two_nodes(make_pod("user", node="a", volumes=[{"name": "v", **used}]))
    expected = {"a": "node(s) had no available disk"} if conflict else {}
    assert refusals(Objects(), make_pod(volumes=[{"name": "v", **wanted}]), cache) == expected


def csi(name: str, handle: str) -> Object:
    return volume(name, csi={"driver": "csi.example.com", "volumeHandle": handle})


@pytest.mark.parametrize(
    ("count", "handles", "is_full"),
    [
        (1, ["1", "2"], True),
        (2, ["1", "2"], False),
        (1, ["1", "1"], False),  # the same volume again
        (None, ["1", "2"], False),
    ],
)
def test_a_node_attaches_as_many_volumes_as_its_driver_says(
    count: int | None, handles: list[str], is_full: bool
) -> None:
    driver: Object = {"name": "csi.example.com"}
    if count is not None:
        driver["allocatable"] = {"count": count}
    objects = Objects(
        claims=[claim("c", bound_to="v"), claim("d", bound_to="w")],
        volumes=[csi("v", handles[0]), csi("w", handles[1])],
        csi_nodes=[{"metadata": {"name": "a"}, "spec": {"drivers": [driver]}}],
    )
    cache = two_nodes(using("c", name="user", node="a"))
    expected = {"a": "node(s) exceed max volume count"} if is_full else {}
    assert refusals(objects, using("d"), cache) == expected


def test_pods_without_claims_keep_their_heap() -> None:
    cache = two_nodes()
    planner = Planner(PROFILE, cache)
    plain = planner.cycle(PodInfo(make_pod(volumes=[{"name": "tmp", "emptyDir": {}}])))
    claiming = planner.cycle(PodInfo(using("c")))
    assert planner._placements.signature(plain) is not None
    assert planner._placements.signature(claiming) is None
