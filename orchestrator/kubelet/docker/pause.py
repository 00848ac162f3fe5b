"""The pause image: a static program of a few hundred bytes, written here, loaded without a registry.

The program holds a pod's namespaces. It ignores SIGCHLD so that children of a shared PID namespace are reaped, exits 0
on SIGTERM and SIGINT, and otherwise sleeps. Mirrors registry.k8s.io/pause.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile

PAUSE_IMAGE = "orchestrator/pause:2"
PAUSE_PATH = "/pause"
DIGEST_LABEL = "orchestrator.dev/pause"

_BASE = 0x400000
_HEADERS_SIZE = 64 + 56

# Each line is one or a few instructions; the numbers of the system calls are in the comments.
_X86_64 = bytes.fromhex(
    "488d3551000000 bf0f000000 e834000000"  # lea rsi, exit_action; mov edi, SIGTERM; call sigaction
    "488d3540000000 bf02000000 e823000000"  # lea rsi, exit_action; mov edi, SIGINT; call sigaction
    "488d354f000000 bf11000000 e812000000"  # lea rsi, child_action; mov edi, SIGCHLD; call sigaction
    # sleep:
    "b822000000 0f05 ebf7"  # pause(); jmp sleep                  34
    # on_signal:
    "31ff b8e7000000 0f05"  # exit_group(0)                      231
    # sigaction:
    "31d2 41ba08000000 b80d000000 0f05 c3"  # rt_sigaction(edi, rsi, NULL, 8)  13; ret
    "0f1f00"  # padding to eight bytes
)
_X86_64_ON_SIGNAL = 0x3C

_AARCH64 = bytes.fromhex(
    "e00180d2 21030010 12000094"  # mov x0, SIGTERM; adr x1, exit_action; bl sigaction
    "400080d2 c1020010 0f000094"  # mov x0, SIGINT; adr x1, exit_action; bl sigaction
    "200280d2 61030010 0c000094"  # mov x0, SIGCHLD; adr x1, child_action; bl sigaction
    # sleep:
    "000080d2 010080d2 020080d2 030080d2 040080d2 280980d2 010000d4"  # ppoll(NULL, 0, NULL, NULL)  73
    "f9ffff17"  # b sleep
    # on_signal:
    "000080d2 c80b80d2 010000d4"  # exit_group(0)              94
    # sigaction:
    "020080d2 030180d2 c81080d2 010000d4 c0035fd6"  # rt_sigaction(x0, x1, NULL, 8)  134; ret
    "1f2003d5"  # padding to eight bytes
)
_AARCH64_ON_SIGNAL = 0x44

_SA_RESTORER, _SA_NOCLDWAIT = 0x04000000, 2
_SIG_IGN = 1

_MACHINES = {
    # Docker's name: (ELF machine, code, offset of on_signal)
    "amd64": (62, _X86_64, _X86_64_ON_SIGNAL),
    "arm64": (183, _AARCH64, _AARCH64_ON_SIGNAL),
}
_ALIASES = {"x86_64": "amd64", "aarch64": "arm64"}


def normalise_architecture(architecture: str) -> str:
    """Docker's image architecture for what `uname -m` or `docker info` says; ValueError when unsupported."""
    name = _ALIASES.get(architecture, architecture)
    if name not in _MACHINES:
        raise ValueError(f"no pause program for the architecture {architecture!r}: amd64 and arm64 are known")
    return name


def pause_program(architecture: str) -> bytes:
    """The ELF file for an architecture (`amd64` or `arm64`)."""
    machine, code, on_signal_offset = _MACHINES[normalise_architecture(architecture)]
    entry = _BASE + _HEADERS_SIZE
    on_signal = entry + on_signal_offset
    data = struct.pack("<QQQQ", on_signal, _SA_RESTORER, on_signal, 0)  # exit_action; the handler never returns
    data += struct.pack("<QQQQ", _SIG_IGN, _SA_NOCLDWAIT, 0, 0)  # child_action
    size = _HEADERS_SIZE + len(code) + len(data)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, machine, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    return header + segment + code + data


def pause_digest(architecture: str) -> str:
    """What the image is labelled with, so that an image of an older program is noticed and replaced."""
    return hashlib.sha256(pause_program(architecture)).hexdigest()


def pause_image_archive(architecture: str) -> bytes:
    """What `POST /images/load` takes: one layer with the program, tagged `PAUSE_IMAGE`; always the same bytes."""
    name = normalise_architecture(architecture)
    layer = _tar({PAUSE_PATH.lstrip("/"): (pause_program(name), 0o755)})
    config = json.dumps(
        {
            "architecture": name,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Entrypoint": [PAUSE_PATH], "Labels": {DIGEST_LABEL: pause_digest(name)}},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]).encode()
    return _tar({"layer.tar": (layer, 0o644), config_name: (config, 0o644), "manifest.json": (manifest, 0o644)})


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (content, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
