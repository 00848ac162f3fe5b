"""Messages as tables: what stands on the wire is what protobuf's own encoding would have."""

from __future__ import annotations

from orchestrator.kubelet.plugins.messages import declare
from orchestrator.kubelet.plugins.registration import MESSAGES


def test_scalars_lists_maps_and_messages() -> None:
    made = declare(
        "test.v1",
        {
            "Inner": {"id": "1 int64", "is_set": "2 bool"},
            "Outer": {
                "names": "1 repeated string",
                "inner": "2 Inner",
                "all": "3 repeated Inner",
                "texts": "4 map string",
                "by_name": "5 map Inner",
                "data": "6 bytes",
            },
        },
    )
    outer = made["Outer"](names=["a", "b"], inner={"id": 7}, all=[{"is_set": True}], texts={"k": "v"}, data=b"\x00")
    outer.by_name["x"].id = -1
    again = made["Outer"].FromString(outer.SerializeToString())
    assert again == outer
    assert again.by_name["x"].id == -1
    assert made["Outer"](names=["a"], texts={"k": "v"}).SerializeToString() == b'\x0a\x01a"\x06\x0a\x01k\x12\x01v'
    assert not made["Outer"]().HasField("inner")


def test_what_a_driver_says_of_itself() -> None:
    # Written out by hand from the published numbers.
    wire = b"\x0a\x09DRAPlugin" + b"\x12\x01d" + b"\x1a\x02/s" + b'"\x02v1' + b'"\x07v1beta1'
    info = MESSAGES["PluginInfo"].FromString(wire)
    assert (info.type, info.name, info.endpoint) == ("DRAPlugin", "d", "/s")
    assert [*info.supported_versions] == ["v1", "v1beta1"]
    assert MESSAGES["RegistrationStatus"](plugin_registered=True, error="e").SerializeToString() == b"\x08\x01\x12\x01e"
