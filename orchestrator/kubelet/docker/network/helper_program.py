"""What runs in a helper container: makes sockets in the container's network namespace, and does what only root may.

Needs nothing but the standard library: it runs with the machine's interpreter, without the packages. Whoever may open
its Unix socket may ask: that is the user whose directory the socket is in. Speaks JSON, one request and one answer for
each packet; descriptors come along with the answer.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from orchestrator.aiokit.trees import remove_tree
from orchestrator.kubelet.volumes.ownership import give_to_group

REQUEST_BYTES_MAX = 64 << 10
SOCKET_NAME = "helper.sock"
FOLDER = "/run/helper"
"""Where the container has the directory of its socket."""
BACKLOG = 16
_KINDS = {"stream": socket.SOCK_STREAM, "datagram": socket.SOCK_DGRAM}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def main(local_range: str = "", files_root: str = "") -> None:
    """Serve for ever. `local_range` becomes this container's own; files are only touched below `files_root`."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if local_range:
        make_local(IPv4Network(local_range))
    path = f"{FOLDER}/{SOCKET_NAME}"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.path.lexists(path):
        os.unlink(path)
    listening.bind(path)
    os.chmod(path, 0o666)  # the directory decides who comes this far
    listening.listen(BACKLOG)
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=serve, args=(connection, files_root), daemon=True).start()


def serve(connection: socket.socket, files_root: str) -> None:
    """Answer one client until it leaves."""
    with connection:
        while data := connection.recv(REQUEST_BYTES_MAX):
            made: socket.socket | None = None
            try:
                made = carry_out(json.loads(data), files_root)
                answer: dict[str, Any] = {}
            except OSError as error:
                answer = {"errno": error.errno or 0, "error": error.strerror or str(error)}
            except (ValueError, KeyError, TypeError) as error:
                answer = {"errno": 22, "error": f"not understood: {error!r}"}
            try:
                socket.send_fds(connection, [json.dumps(answer).encode()], [made.fileno()] if made is not None else [])
            except OSError:
                return  # the client has gone
            finally:
                if made is not None:
                    made.close()


def carry_out(request: Mapping[str, Any], files_root: str) -> socket.socket | None:
    """Do what a request says; OSError, and ValueError, KeyError or TypeError for what is no request."""
    match request["do"]:
        case "socket":
            kind = _KINDS[request["kind"]] | socket.SOCK_NONBLOCK
            return socket.socket(_FAMILIES[request.get("family", 4)], kind)
        case "chown":
            user, group = int(request["user"]), int(request["group"])
            os.chown(below(files_root, request["path"]), user, group, follow_symlinks=False)
        case "give":
            give_to_group(below(files_root, request["path"]), int(request["group"]), policy=request["policy"])
        case "remove":
            path = below(files_root, request["path"])
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            else:
                path.unlink(missing_ok=True)
        case other:
            raise ValueError(other)
    return None


def below(root: str, path: str) -> Path:
    """The path, when it is really below the root, links on the way counted; PermissionError."""
    wanted = Path(path)
    parent = Path(os.path.realpath(wanted.parent))
    if not root or wanted.name in ("", ".", "..") or not parent.is_relative_to(os.path.realpath(root)):
        raise PermissionError(1, f"{path} is not below {root or 'anything'}")
    return parent / wanted.name


def make_local(network: IPv4Network) -> None:
    """Take every address of a range for this namespace's own: the kernel answers ARP for them and accepts packets.

    What `ip route add local NETWORK dev lo` does (linux/rtnetlink.h).
    """
    message = local_route(network, socket.if_nametoindex("lo"))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.sendto(message, (0, 0))
        (code,) = struct.unpack_from("=i", route.recv(4096), 16)
    if code not in (0, -17):  # EEXIST: it is so already
        raise OSError(-code, f"{os.strerror(-code)}: routing {network} to this container")


def local_route(network: IPv4Network, interface: int) -> bytes:
    """The request RTM_NEWROUTE for a route of type local."""

    def attribute(number: int, value: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(value), number) + value

    local_table, protocol_static, scope_host, type_local = 255, 4, 254, 2
    body = struct.pack(
        "=BBBBBBBBI", socket.AF_INET, network.prefixlen, 0, 0, local_table, protocol_static, scope_host, type_local, 0
    )
    body += attribute(1, network.network_address.packed) + attribute(4, struct.pack("=I", interface))
    request, acknowledge, create, exclusive = 0x1, 0x4, 0x400, 0x200
    return struct.pack("=IHHII", 16 + len(body), 24, request | acknowledge | create | exclusive, 1, 0) + body


if __name__ == "__main__":
    main(*sys.argv[1:])
