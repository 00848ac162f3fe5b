"""The pause image: a static program of a few hundred bytes, written here, loaded without a registry.

The program holds a pod's namespaces. With one argument it first leaves the machine's network
namespace for a new one (`unshare`), which takes the Engine a hundred milliseconds and the kernel one.
It then drops every capability for good, ignores SIGCHLD so that children of a shared PID namespace
are reaped, exits 0 on SIGTERM and SIGINT, and otherwise sleeps. Mirrors registry.k8s.io/pause.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile

PAUSE_IMAGE = "orchestrator/pause:1"
PAUSE_PATH = "/pause"
UNSHARE_ARGUMENT = "unshare-network"
DIGEST_LABEL = "orchestrator.dev/pause"

_BASE = 0x400000
_HEADERS_SIZE = 64 + 56

# Each line is one or a few instructions; the numbers of the system calls are in the comments.
_X86_64 = bytes.fromhex(
    "4c8b2424"  # mov r12, [rsp]                    argc
    "488d35a5000000 bf0f000000 e887000000"  # lea rsi, exit_action; mov edi, SIGTERM; call sigaction
    "488d3594000000 bf02000000 e876000000"  # lea rsi, exit_action; mov edi, SIGINT; call sigaction
    "488d35a3000000 bf11000000 e865000000"  # lea rsi, child_action; mov edi, SIGCHLD; call sigaction
    "4983fc02 7210"  # cmp r12, 2; jb drop
    "bf00000040 b810010000 0f05"  # unshare(CLONE_NEWNET)        272
    "85c0 753f"  # test eax, eax; jnz fail
    # drop:
    "bf26000000 be01000000 31d2 4531d2 4531c0 b89d000000 0f05"  # prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  157
    "85c0 7522"  # test eax, eax; jnz fail
    "488d3d7f000000 488d3580000000 b87e000000 0f05"  # capset(header, nothing)     126
    "85c0 7509"  # test eax, eax; jnz fail
    # sleep:
    "b822000000 0f05 ebf7"  # pause(); jmp sleep                  34
    # fail:
    "bf01000000 eb02"  # mov edi, 1; jmp exit
    # on_signal:
    "31ff"  # xor edi, edi
    # exit:
    "b8e7000000 0f05"  # exit_group(edi)                    231
    # sigaction:
    "31d2 41ba08000000 b80d000000 0f05 c3"  # rt_sigaction(edi, rsi, NULL, 8)  13; ret
    "0f1f4000"  # padding to eight bytes
)
_X86_64_ON_SIGNAL = 0x93

_AARCH64 = bytes.fromhex(
    "f30340f9"  # ldr x19, [sp]                    argc
    "e00180d2 c1050010 27000094"  # mov x0, SIGTERM; adr x1, exit_action; bl sigaction
    "400080d2 61050010 24000094"  # mov x0, SIGINT; adr x1, exit_action; bl sigaction
    "200280d2 01060010 21000094"  # mov x0, SIGCHLD; adr x1, child_action; bl sigaction
    "7f0a00f1 a3000054"  # cmp x19, 2; b.lo drop
    "0000a8d2 280c80d2 010000d4"  # unshare(CLONE_NEWNET)      97
    "c00200b5"  # cbnz x0, fail
    # drop:
    "c00480d2 210080d2 020080d2 030080d2 040080d2 e81480d2 010000d4"  # prctl(PR_SET_NO_NEW_PRIVS, ...)  167
    "c00100b5"  # cbnz x0, fail
    "00050010 21050010 680b80d2 010000d4"  # capset(header, nothing)  91
    "200100b5"  # cbnz x0, fail
    # sleep:
    "000080d2 010080d2 020080d2 030080d2 040080d2 280980d2 010000d4"  # ppoll(NULL, 0, NULL, NULL)  73
    "f9ffff17"  # b sleep
    # fail:
    "200080d2 02000014"  # mov x0, 1; b exit
    # on_signal:
    "000080d2"  # mov x0, 0
    # exit:
    "c80b80d2 010000d4"  # exit_group(x0)              94
    # sigaction:
    "020080d2 030180d2 c81080d2 010000d4 c0035fd6"  # rt_sigaction(x0, x1, NULL, 8)  134; ret
    "1f2003d5"  # padding to eight bytes
)
_AARCH64_ON_SIGNAL = 0x9C

_SA_RESTORER, _SA_NOCLDWAIT = 0x04000000, 2
_SIG_IGN = 1
_CAPABILITY_VERSION_3 = 0x20080522

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
    data += struct.pack("<II", _CAPABILITY_VERSION_3, 0) + bytes(24)
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
