"""Builds the images of the demo and of the end-to-end tests from files of this machine, without a registry.

Owns the recipes below. Each image is a tar made here and handed to the Engine's `POST /images/load`,
so that neither `docker build` nor a base image is needed. A label carries a digest of everything
that went in; an image whose label fits is left alone.

    orchestrator.test/busybox:1   a static busybox with all applets, files and users as one expects them
    orchestrator.test/libc:1      the same plus a real libc with bash, dash, getent: name resolution as in most images
    orchestrator.test/users:1     busybox with a user in further groups, and some files: for groups and image volumes
    orchestrator.test/shop:1, :2  every part of the example in config/examples/shop: the scripts in tests/setup/shop
    orchestrator.test/web:1, :2   a small web application on port 8080 that tells its version and host name

Where the machine has no static busybox or no glibc (macOS, Alpine), the file is taken from the public
image named in `FALLBACKS`; that is the only time a registry is asked.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.setup.engine import Engine, EngineError, find

PREFIX = "orchestrator.test"
DIGEST_LABEL = "orchestrator.test/recipe"
FALLBACKS = {"busybox": ("busybox", "1.36-musl"), "libc": ("debian", "12-slim")}
SHOP = Path(__file__).with_name("shop")
UNPACKED_BUSYBOX = Path("build/setup/busybox-static/bin/busybox")
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

USERS = """\
root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:app:/home/app:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
"""
GROUPS = """\
root:x:0:
app:x:1000:
nogroup:x:65534:
"""

USERS_GROUPS = GROUPS + "extra:x:50000:app\n"

WEB_START = """\
#!/bin/sh
# PID 1 of the web application: a shell, because a signal without a handler is lost on PID 1.
stop() {
    echo "web $VERSION stopping"
    kill "$server" 2>/dev/null
    exit 0
}
trap stop TERM INT
httpd -f -vv -p "${PORT:-8080}" -h /www &
server=$!
echo "web $VERSION serving on port ${PORT:-8080} as $(hostname)"
wait "$server"
"""
WEB_PAGE = """\
#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
echo "web $VERSION on $(hostname)"
[ ! -r /etc/web/message ] || cat /etc/web/message
[ -z "$PASSWORD" ] || echo "a password of ${#PASSWORD} characters is set"
"""


class BuildError(Exception):
    """An image cannot be built here; the text says what is missing and how to get it."""


@dataclass
class Layer:
    """The files of one image layer; paths are relative to the root."""

    folders: dict[str, int] = field(default_factory=dict)
    """path → mode"""
    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    """path → content, mode"""
    links: dict[str, str] = field(default_factory=dict)
    """path → target"""

    def tar(self) -> bytes:
        """The layer as an uncompressed tar, the same bytes for the same content."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for path, mode in sorted(self.folders.items()):
                entry = tarfile.TarInfo(path)
                entry.type, entry.mode = tarfile.DIRTYPE, mode
                archive.addfile(entry)
            for path, target in sorted(self.links.items()):
                entry = tarfile.TarInfo(path)
                entry.type, entry.mode, entry.linkname = tarfile.SYMTYPE, 0o777, target
                archive.addfile(entry)
            for path, (content, mode) in sorted(self.files.items()):
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(content), mode
                archive.addfile(entry, io.BytesIO(content))
        return buffer.getvalue()


@dataclass(frozen=True)
class Image:
    """A complete image: its layers from the bottom up and the settings a container starts with."""

    name: str
    layers: tuple[bytes, ...]
    settings: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Changes whenever anything in the image does."""
        settings = json.dumps(self.settings, sort_keys=True).encode()
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in (*self.layers, settings))).hexdigest()

    def archive(self, architecture: str) -> bytes:
        """A docker-archive as `docker save` writes it."""
        config = {
            "architecture": architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {**self.settings, "Labels": {DIGEST_LABEL: self.digest}},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer)}" for layer in self.layers]},
        }
        encoded = json.dumps(config, sort_keys=True).encode()
        members = {f"{_sha256(encoded)}.json": encoded}
        members |= {f"{_sha256(layer)}/layer.tar": layer for layer in self.layers}
        manifest = {
            "Config": f"{_sha256(encoded)}.json",
            "RepoTags": [self.name],
            "Layers": [f"{_sha256(layer)}/layer.tar" for layer in self.layers],
        }
        members["manifest.json"] = json.dumps([manifest]).encode()
        return Layer(files={path: (content, 0o644) for path, content in members.items()}).tar()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def plan_busybox_layer(busybox: bytes, applets: Iterable[str]) -> Layer:
    """A root file system around one static busybox."""
    layer = Layer(
        folders={
            "bin": 0o755, "dev": 0o755, "etc": 0o755, "home/app": 0o755, "proc": 0o755, "root": 0o700, "sbin": 0o755,
            "sys": 0o755, "tmp": 0o1777, "usr/bin": 0o755, "var/log": 0o755, "var/run": 0o755, "www": 0o755,
        },
        files={
            "bin/busybox": (busybox, 0o755),
            "etc/passwd": (USERS.encode(), 0o644),
            "etc/group": (GROUPS.encode(), 0o644),
            "etc/nsswitch.conf": (b"passwd: files\ngroup: files\nhosts: files dns\n", 0o644),
            "www/index.html": (b"busybox\n", 0o644),
        },
    )  # fmt: skip
    layer.links = {f"bin/{name}": "busybox" for name in applets if name and name != "busybox"}
    layer.links["usr/bin/env"] = "../../bin/busybox"
    return layer


def plan_web_layer() -> Layer:
    """What makes a busybox image the web application."""
    return Layer(
        folders={"www": 0o755, "www/cgi-bin": 0o755, "etc/web": 0o755},
        files={
            "usr/bin/web": (WEB_START.encode(), 0o755),
            # httpd answers `/` with this script when there is no index.html ...
            "www/cgi-bin/index.cgi": (WEB_PAGE.encode(), 0o755),
            # ... so the one of the layer below is removed (a whiteout of the image format).
            "www/.wh.index.html": (b"", 0o644),
            "www/healthz": (b"ok\n", 0o644),
        },
    )


def plan_shop_layer() -> Layer:
    """The scripts of the shop: its programs, what they source, and a folder of pages and CGI scripts for each part."""
    layer = Layer(folders={"data": 0o777, "cache": 0o777})
    for path in sorted(SHOP.rglob("*")):
        if path.is_dir():
            continue
        part = path.relative_to(SHOP)
        content = path.read_bytes()
        is_program = content.startswith(b"#!")
        if part.parts[0] == "srv":
            target = part.as_posix()
        else:
            target = f"usr/bin/{part}" if is_program else f"usr/lib/shop/{part}"
        layer.files[target] = (content, 0o755 if is_program else 0o644)
        layer.folders |= {folder.as_posix(): 0o755 for folder in Path(target).parents if folder != Path()}
    return layer


def plan_users_layer() -> Layer:
    """A user in more than one group, and files to be seen through an image volume."""
    return Layer(
        folders={"data": 0o755, "data/sub": 0o755},
        files={
            "etc/group": (USERS_GROUPS.encode(), 0o644),
            "data/file": (b"from an image\n", 0o644),
            "data/sub/file": (b"from a folder of an image\n", 0o644),
            "www/.wh.index.html": (b"", 0o644),
        },
    )


def plan_libc_layer(programs: Mapping[str, bytes], libraries: Mapping[str, bytes]) -> Layer:
    """Programs under usr/local/bin (found before busybox's applets) with the libraries at the paths they ask for."""
    layer = Layer(folders={"usr/local/bin": 0o755, "lib64": 0o755})
    for name, content in programs.items():
        layer.files[f"usr/local/bin/{name}"] = (content, 0o755)
    for path, content in libraries.items():
        layer.files[path.lstrip("/")] = (content, 0o755)
    layer.links["bin/bash"] = "../usr/local/bin/bash"
    return layer


def is_static(program: bytes) -> bool:
    """Whether an ELF file runs without an interpreter, so in an empty image."""
    if program[:6] != b"\x7fELF\x02\x01":
        return False
    (table,) = struct.unpack_from("<Q", program, 32)
    size, count = struct.unpack_from("<HH", program, 54)
    interpreter = 3  # PT_INTERP
    return all(struct.unpack_from("<I", program, table + size * i)[0] != interpreter for i in range(count))


def find_busybox() -> Path | None:
    """A static busybox of this machine, or None."""
    candidates = [os.environ.get("BUSYBOX"), "/bin/busybox", "/usr/bin/busybox", UNPACKED_BUSYBOX]
    for candidate in candidates:
        if candidate and (path := Path(candidate)).is_file() and is_static(path.read_bytes()):
            return path
    return None


def read_libc() -> tuple[dict[str, bytes], dict[str, bytes]] | None:
    """Programs and libraries of this machine's glibc, or None where there is none."""
    programs = {name: path for name in ("bash", "dash", "getent", "cat", "sleep") if (path := _which(name))}
    if not {"bash", "getent"} <= programs.keys() or not _which("ldd"):
        return None
    listed = subprocess.run(["ldd", *map(str, programs.values())], capture_output=True, text=True, check=False)
    # `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)` and `/lib64/ld-linux-x86-64.so.2 (0x...)`
    paths = {Path(found) for found in re.findall(r"(?:=> |^\t)(/\S+) \(0x", listed.stdout, re.MULTILINE)}
    libc = next((path for path in paths if path.name == "libc.so.6"), None)
    if libc is None:
        return None
    for name in ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"):
        if (extra := libc.with_name(name)).exists():
            paths.add(extra)
    return (
        {name: path.read_bytes() for name, path in programs.items()},
        {str(path): path.read_bytes() for path in sorted(paths)},
    )


def _which(name: str) -> Path | None:
    return next((path for folder in ("/usr/bin", "/bin") if (path := Path(folder, name)).is_file()), None)


def plan_images(busybox: bytes, applets: Iterable[str], libc: Layer | None) -> list[Image]:
    """Every image that can be built from these parts."""
    base = plan_busybox_layer(busybox, applets).tar()
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    images = [Image(f"{PREFIX}/busybox:1", (base,), {"Cmd": ["sh"], "Env": [path]})]
    images.append(Image(f"{PREFIX}/users:1", (base, plan_users_layer().tar()), {"Cmd": ["sh"], "Env": [path]}))
    web = plan_web_layer().tar()
    for version in ("1", "2"):
        settings = {"Cmd": ["web"], "Env": [path, f"VERSION={version}"], "ExposedPorts": {"8080/tcp": {}}}
        images.append(Image(f"{PREFIX}/web:{version}", (base, web), settings))
    shop = plan_shop_layer().tar()
    for version in ("1", "2"):
        settings = {
            "Entrypoint": ["shop"], "User": "1000:1000", "Env": [path, f"VERSION={version}"],
            "ExposedPorts": {"8080/tcp": {}},
        }  # fmt: skip
        images.append(Image(f"{PREFIX}/shop:{version}", (base, shop), settings))
    if libc is not None:
        images.append(Image(f"{PREFIX}/libc:1", (base, libc.tar()), {"Cmd": ["bash"], "Env": [path]}))
    return images


def _has(engine: Engine, name: str, digest: str | None = None) -> bool:
    try:
        image = engine.get(f"/images/{quote(name)}/json")
    except EngineError:
        return False
    return digest is None or ((image.get("Config") or {}).get("Labels") or {}).get(DIGEST_LABEL) == digest


def _pull(engine: Engine, repository: str, tag: str, missing: str) -> str:
    name = f"{repository}:{tag}"
    if not _has(engine, name):
        print(f"setup: {missing}; pulling {name} instead")
        try:
            answer = engine.call("POST", f"/images/create?fromImage={quote(repository)}&tag={quote(tag)}").decode()
        except EngineError as error:
            raise BuildError(f"{missing}, and {name} cannot be pulled: {error}") from error
        if not _has(engine, name):
            raise BuildError(f"{missing}, and {name} cannot be pulled: {answer.splitlines()[-1:]}")
    return name


def _busybox_from_image(engine: Engine, name: str) -> bytes:
    """The program out of a pulled image, through a container that is never started."""
    body = json.dumps({"Image": name, "Labels": {"orchestrator.test/setup": "1"}}).encode()
    container = json.loads(engine.call("POST", "/containers/create", body))["Id"]
    try:
        archive = engine.call("GET", f"/containers/{container}/archive?path=/bin/busybox")
    finally:
        engine.call("DELETE", f"/containers/{container}?force=1")
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for member in members:
            content = members.extractfile(member) if member.isreg() else None
            if content is not None:
                return content.read()
    raise BuildError(f"{name} has no /bin/busybox")


def ensure(engine: Engine, architecture: str) -> list[str]:
    """Load what is missing or outdated; the names of the images that were loaded."""
    local = ARCHITECTURES.get(platform.machine().lower())
    is_local = platform.system() == "Linux" and local == architecture
    path = find_busybox() if is_local else None
    if path is not None:
        busybox = path.read_bytes()
        applets = subprocess.run([path, "--list"], capture_output=True, text=True, check=True).stdout.split()
    else:
        missing = f"no static busybox for linux/{architecture} on this machine (Debian's package busybox-static)"
        busybox = _busybox_from_image(engine, _pull(engine, *FALLBACKS["busybox"], missing))
        applets = COMMON_APPLETS.split()
    parts = read_libc() if is_local else None
    images = plan_images(busybox, applets, None if parts is None else plan_libc_layer(*parts))
    loaded = []
    for image in images:
        if not _has(engine, image.name, image.digest):
            engine.call("POST", "/images/load?quiet=1", image.archive(architecture), "application/x-tar")
            if not _has(engine, image.name, image.digest):
                raise BuildError(f"the Engine accepted {image.name} but does not list it")
            loaded.append(image.name)
    if parts is None and not _has(engine, f"{PREFIX}/libc:1"):
        source = _pull(engine, *FALLBACKS["libc"], "no glibc with bash and getent on this machine")
        engine.call("POST", f"/images/{quote(source)}/tag?repo={PREFIX}/libc&tag=1")
        loaded.append(f"{PREFIX}/libc:1")
    return loaded


COMMON_APPLETS = """
[ ash awk base64 basename cat chgrp chmod chown clear cp cut date dd df diff dirname dmesg du echo egrep env expr
false fgrep find free fsync grep groups gunzip gzip head hexdump hostname httpd id ifconfig ip kill killall less ln ls
md5sum mkdir mkfifo mknod mktemp more mount mv nc netstat nice nohup nslookup od pgrep pidof ping pkill printenv printf
ps pwd readlink realpath renice reset rm rmdir route sed seq setsid sh sha256sum sleep sort split stat strings stty
sync sysctl tail tar tee telnet test time timeout top touch tr true truncate tty umount uname uniq uptime usleep vi
watch wc wget which whoami xargs yes
"""


def main() -> int:
    try:
        engine, version = find()
        for name in ensure(engine, str(version["Arch"])):
            print(f"setup: built {name}")
    except (EngineError, BuildError) as error:
        print(f"setup: cannot build the test images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
