"""The pause program's file format and image; what it does is tested on a real Engine."""

from __future__ import annotations

import io
import json
import struct
import tarfile

import pytest

from orchestrator.kubelet.docker.pause import (
    DIGEST_LABEL,
    PAUSE_IMAGE,
    normalise_architecture,
    pause_digest,
    pause_image_archive,
    pause_program,
)


@pytest.mark.parametrize(("architecture", "machine"), [("amd64", 62), ("arm64", 183)])
def test_the_program_is_an_elf_file_of_the_right_machine(architecture: str, machine: int) -> None:
    program = pause_program(architecture)
    assert program[:7] == b"\x7fELF\x02\x01\x01"
    kind, found, _, entry = struct.unpack_from("<HHIQ", program, 16)
    assert (kind, found) == (2, machine)
    _, flags, offset, address, _, file_size, memory_size, _ = struct.unpack_from("<IIQQQQQQ", program, 64)
    assert (offset, file_size, memory_size) == (0, len(program), len(program))
    assert address < entry < address + file_size
    assert flags == 5, "readable and executable, never writable"
    assert len(program) < 512


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_the_signal_handlers_lie_inside_the_code(architecture: str) -> None:
    program = pause_program(architecture)
    handler, flags, restorer, mask, ignore, no_wait, *_ = struct.unpack("<8Q", program[-64:])
    (entry,) = struct.unpack_from("<Q", program, 24)
    assert entry < handler < entry + len(program) - 120 - 64
    assert (flags, restorer, mask) == (0x04000000, handler, 0)
    assert (ignore, no_wait) == (1, 2)


def test_the_image_loads_under_its_tag_and_names_its_program() -> None:
    with tarfile.open(fileobj=io.BytesIO(pause_image_archive("x86_64"))) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}  # type: ignore[union-attr]
    (manifest,) = json.loads(files["manifest.json"])
    assert manifest["RepoTags"] == [PAUSE_IMAGE]
    config = json.loads(files[manifest["Config"]])
    assert (config["architecture"], config["os"]) == ("amd64", "linux")
    assert config["config"]["Labels"] == {DIGEST_LABEL: pause_digest("amd64")}
    with tarfile.open(fileobj=io.BytesIO(files[manifest["Layers"][0]])) as layer:
        (member,) = layer.getmembers()
    assert (member.name, member.mode) == ("pause", 0o755)


def test_the_image_is_the_same_every_time() -> None:
    assert pause_image_archive("arm64") == pause_image_archive("aarch64")


def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(ValueError, match="'riscv64'"):
        normalise_architecture("riscv64")
