"""The recipes of the test images, without an Engine."""

from __future__ import annotations

import io
import json
import sys
import tarfile

import pytest

from tests.setup.images import Image, is_static, plan_busybox_layer, plan_images, plan_libc_layer, plan_shop_layer


def members(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {member.name: member for member in opened}


def test_every_applet_is_a_link_to_busybox() -> None:
    found = members(plan_busybox_layer(b"program", ["sh", "cat", "busybox"]).tar())
    assert {name for name, member in found.items() if member.issym()} == {"bin/sh", "bin/cat", "usr/bin/env"}
    assert found["bin/sh"].linkname == "busybox"
    assert found["bin/busybox"].mode == 0o755
    assert found["tmp"].mode == 0o1777


def test_libraries_stay_where_programs_look_for_them() -> None:
    layer = plan_libc_layer({"getent": b"x"}, {"/lib64/ld-linux-x86-64.so.2": b"y"})
    assert {"usr/local/bin/getent", "lib64/ld-linux-x86-64.so.2"} <= members(layer.tar()).keys()


def test_the_same_parts_give_the_same_image() -> None:
    first, again = (plan_images(b"program", ["sh"], None) for _ in range(2))
    assert [image.archive("amd64") for image in first] == [image.archive("amd64") for image in again]


@pytest.mark.parametrize("other", [Image("a:1", (b"x",), {}), Image("a:1", (b"y",), {"Cmd": ["z"]})])
def test_the_digest_follows_content_and_settings(other: Image) -> None:
    assert Image("a:1", (b"y",), {}).digest != other.digest


def test_both_versions_of_the_web_application_share_their_layers() -> None:
    images = {image.name.rpartition("/")[2]: image for image in plan_images(b"program", ["sh"], None)}
    assert images["web:1"].layers == images["web:2"].layers
    assert images["web:1"].digest != images["web:2"].digest


def test_programs_of_the_shop_are_found_and_run() -> None:
    found = members(plan_shop_layer().tar())
    modes = {name: member.mode for name, member in found.items() if member.isreg()}
    programs = ("usr/bin/shop", "usr/bin/ask", "srv/frontend/cgi-bin/index.cgi", "srv/database/cgi-bin/take")
    assert {modes[name] for name in programs} == {0o755}
    assert {modes[name] for name in ("usr/lib/shop/answer", "srv/api/healthz")} == {0o644}


def test_archive_is_what_docker_load_reads() -> None:
    image = plan_images(b"program", ["sh"], None)[0]
    with tarfile.open(fileobj=io.BytesIO(image.archive("arm64"))) as opened:

        def read(name: str) -> bytes:
            stream = opened.extractfile(name)
            assert stream is not None
            return stream.read()

        (manifest,) = json.loads(read("manifest.json"))
        config = json.loads(read(manifest["Config"]))
        assert manifest["RepoTags"] == ["orchestrator.test/busybox:1"]
        assert (config["architecture"], config["os"]) == ("arm64", "linux")
        assert len(config["rootfs"]["diff_ids"]) == len(manifest["Layers"])
        assert [read(name) for name in manifest["Layers"]] == list(image.layers)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at an ELF program")
def test_a_program_with_an_interpreter_is_not_static() -> None:
    with open("/bin/ls", "rb") as program:
        assert not is_static(program.read())
    assert not is_static(b"#!/bin/sh\n")
