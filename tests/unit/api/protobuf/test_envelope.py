"""Envelopes and watch frames, against bytes computed by hand, and what malformed input leads to."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.api import errors
from orchestrator.api.protobuf import decode_protobuf, encode_protobuf, encode_watch_frame
from orchestrator.api.protobuf.envelope import BYTES_MAX
from orchestrator.api.protobuf.messages import DEPTH_MAX, message


def envelope(api_version: str, kind: str, raw: bytes, rest: bytes = b"\x1a\x00\x22\x00") -> bytes:
    """An independent writer of envelopes; everything in it is shorter than 128 bytes, except the raw part."""
    type_meta = (
        b"\x0a" + bytes([len(api_version)]) + api_version.encode() + b"\x12" + bytes([len(kind)]) + kind.encode()
    )
    size = len(raw)
    length = b""
    while size >= 128:
        length += bytes([size & 127 | 128])
        size >>= 7
    length += bytes([size])
    return b"k8s\x00\x0a" + bytes([len(type_meta)]) + type_meta + b"\x12" + length + raw + rest


POD: dict[str, Any] = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "a", "creationTimestamp": "1970-01-01T00:00:01Z"},
    "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}]}], "terminationGracePeriodSeconds": 0},
}
POD_RAW = bytes.fromhex(
    "0a09"  # metadata, 9 bytes
    "0a0161"  # name "a"
    "420408011000"  # creationTimestamp{seconds 1, nanos 0}
    "120b"  # spec, 11 bytes
    "1207"  # containers[0], 7 bytes
    "0a0163"  # name "c"
    "32021850"  # ports[0]{containerPort 80}
    "2000"  # terminationGracePeriodSeconds 0
)

VECTORS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}, "1207" + b"Failure".hex() + "309403"),
    (
        {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "propagationPolicy": "Orphan"},
        "0800" "2206" + b"Orphan".hex(),
    ),
    (
        {"kind": "Deployment", "apiVersion": "apps/v1", "spec": {"replicas": 0, "strategy": {}}},
        "1204" "0800" "2200",
    ),
    (
        {"kind": "ConfigMap", "apiVersion": "v1", "data": {"b": "", "a": "x"}, "immutable": False},
        "1206" "0a0161" "120178" "1205" "0a0162" "1200" "2000",
    ),
    (
        {"kind": "Secret", "apiVersion": "v1", "data": {"k": "aGk="}, "type": "Opaque"},
        "1207" "0a016b" "12026869" "1a06" + b"Opaque".hex(),
    ),
    (
        {
            "kind": "PodDisruptionBudget",
            "apiVersion": "policy/v1",
            "spec": {"minAvailable": "50%", "maxUnavailable": 0},
        },
        "1213" "0a09" "0801" "1000" "1a03353025" "1a06" "0800" "1000" "1a00",
    ),
    (
        {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "spec": {"holderIdentity": ""}},
        "1202" "0a00",
    ),
    (
        {"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v1", "spec": {"maxReplicas": -1}},
        "120b" "18" "ffffffffffffffffff01",
    ),
    (
        {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "n"}},
        "0a03" "0a016e",
    ),
]  # fmt: skip


def test_a_pod_is_as_computed_by_hand() -> None:
    encoded = encode_protobuf(POD)
    assert encoded == envelope("v1", "Pod", POD_RAW)
    assert decode_protobuf(encoded) == POD


@pytest.mark.parametrize(("obj", "raw"), VECTORS, ids=lambda value: value["kind"] if isinstance(value, dict) else "")
def test_objects_are_as_computed_by_hand(obj: dict[str, Any], raw: str) -> None:
    assert encode_protobuf(obj) == envelope(obj["apiVersion"], obj["kind"], bytes.fromhex(raw))


def test_zeros_that_go_writes_for_values_disappear() -> None:
    # What a Go client sends for ContainerPort{ContainerPort: 80}, and an empty Probe and ObjectMeta around it.
    port = bytes.fromhex("0a00" "1000" "1850" "2200" "2a00")  # fmt: skip
    container = b"\x0a\x01c\x12\x00\x2a\x00\x32" + bytes([len(port)]) + port + bytes.fromhex("42006a007200800100")
    spec = b"\x12" + bytes([len(container)]) + container + bytes.fromhex("1a005800")
    metadata = bytes.fromhex("0a016112001a0022002a00320038004200")
    raw = b"\x0a" + bytes([len(metadata)]) + metadata + b"\x12" + bytes([len(spec)]) + spec
    assert decode_protobuf(envelope("v1", "Pod", raw)) == {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}], "resources": {}}]},
    }


def test_zeros_of_pointers_and_required_fields_stay() -> None:
    deployment = decode_protobuf(envelope("apps/v1", "Deployment", bytes.fromhex("1206080028003800")))
    # minReadySeconds (5) is no pointer, replicas (1) is one; paused (7) is none.
    assert deployment["spec"] == {"replicas": 0}
    claim = decode_protobuf(envelope("v1", "PersistentVolumeClaim", bytes.fromhex("12041a002a00")))
    assert claim["spec"] == {"storageClassName": ""}
    review = decode_protobuf(envelope("authorization.k8s.io/v1", "SubjectAccessReview", bytes.fromhex("1a020800")))
    assert review["status"] == {"allowed": False}


def test_a_list_without_items_has_an_empty_list() -> None:
    assert decode_protobuf(envelope("v1", "PodList", b"\x0a\x00"))["items"] == []


def test_documents_of_discovery_need_no_api_version() -> None:
    versions = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    assert decode_protobuf(encode_protobuf(versions)) == versions


def test_unknown_fields_are_skipped() -> None:
    unknown = bytes.fromhex("a00601aa060161ad0600000000a9060000000000000000")
    assert decode_protobuf(envelope("v1", "Pod", POD_RAW + unknown)) == POD


def test_an_envelope_may_hold_json() -> None:
    assert decode_protobuf(envelope("v1", "Pod", b'{"kind":"Pod"}', b"\x22\x10application/json")) == {"kind": "Pod"}


def test_numbers_in_lists_may_be_packed() -> None:
    wanted = {"ports": [1, 300]}
    for raw in ("080108ac02", "0a0301ac02"):
        options = decode_protobuf(envelope("v1", "PodPortForwardOptions", bytes.fromhex(raw)))
        assert {"ports": options["ports"]} == wanted


def test_raw_extensions_hold_json_or_an_envelope() -> None:
    revision = {
        "kind": "ControllerRevision",
        "apiVersion": "apps/v1",
        "data": {"spec": {"a": [1, None]}},
        "revision": 3,
    }
    assert decode_protobuf(encode_protobuf(revision)) == revision
    inner = encode_protobuf(POD)
    item = b"\x0a" + bytes([len(inner)]) + inner
    raw = b"\x12" + bytes([len(item)]) + item
    assert decode_protobuf(envelope("v1", "List", raw))["items"] == [POD]


def test_a_watch_frame_is_a_length_and_a_bare_event() -> None:
    frame = encode_watch_frame("ADDED", POD)
    (size,) = struct.unpack(">I", frame[:4])
    assert size == len(frame) - 4
    assert frame[4:].startswith(b"\x0a\x05ADDED\x12")
    event = message("meta.v1.WatchEvent").read(frame, 4, len(frame), 0)
    assert event == {"type": "ADDED", "object": POD}


@pytest.mark.parametrize(
    "obj",
    [
        {"kind": "CronTab", "apiVersion": "stable.example.com/v1"},
        {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "rows": []},
        {"kind": "Pod", "apiVersion": "apps/v1"},
        {},
    ],
)
def test_kinds_without_protobuf_are_not_acceptable(obj: dict[str, Any]) -> None:
    with pytest.raises(errors.NotAcceptable):
        encode_protobuf(obj)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"kind":"Pod"}', "expected prefix [107 56 115 0]"),
        (b"k8s\x00", "Object 'Kind' is missing"),
        (envelope("", "Pod", b""), "Object 'apiVersion' is missing"),
        (envelope("v1", "Nothing", b""), 'no kind "Nothing" is registered for version "v1"'),
        (envelope("v1", "Pod", b"\x0a\x05a"), "unexpected end"),
        (envelope("v1", "Pod", POD_RAW)[:-12], "unexpected end"),
        (envelope("v1", "Pod", b"\x08\x01"), "field 1 of core.v1.Pod has the wire type 0"),
        (envelope("v1", "Pod", b"\x0b"), "has the wire type 3"),
        (envelope("v1", "Pod", b"\xff" * 11), "more than ten bytes"),
        (envelope("v1", "Pod", b"\x0a\x03\x0a\x01\xff"), "utf-8"),
        (envelope("v1", "Pod", POD_RAW, b"\x1a\x04gzip"), "content encoding"),
        (envelope("v1", "Pod", POD_RAW, b"\x22\x08text/csv"), "content type"),
    ],
)
def test_malformed_bodies_are_bad_requests(body: bytes, text: str) -> None:
    with pytest.raises(errors.BadRequest) as caught:
        decode_protobuf(body)
    assert text in str(caught.value)


def test_limits() -> None:
    with pytest.raises(errors.RequestEntityTooLarge):
        decode_protobuf(b"k8s\x00" + bytes(BYTES_MAX))
    nested: dict[str, Any] = {}
    for _ in range(DEPTH_MAX // 2 + 1):
        nested = {"items": nested}
    version = {"name": "v1", "schema": {"openAPIV3Schema": nested}}
    crd = {
        "kind": "CustomResourceDefinition",
        "apiVersion": "apiextensions.k8s.io/v1",
        "spec": {"versions": [version]},
    }
    with pytest.raises(errors.BadRequest, match="nested more than"):
        decode_protobuf(encode_protobuf(crd))


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_noise_is_refused_or_read_but_never_breaks(noise: bytes) -> None:
    for body in (noise, b"k8s\x00" + noise, envelope("v1", "Pod", noise)):
        with contextlib.suppress(errors.BadRequest):
            assert isinstance(decode_protobuf(body), dict)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_object_is_refused_or_read_but_never_breaks(data: st.DataObject) -> None:
    body = bytearray(encode_protobuf(POD))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(errors.BadRequest):
        assert isinstance(decode_protobuf(bytes(body)), dict)


def test_nothing_of_protobuf_loads_before_the_first_request() -> None:
    program = (
        "import sys, orchestrator.cluster.cluster, orchestrator.apiserver.http.server;"
        "sys.exit(any(name.startswith('orchestrator.api.protobuf') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
