"""`exec`: a command in a running container, over WebSocket (v5.channel.k8s.io), with a terminal if wanted.

Mirrors kubectl exec and the remote command protocol (KEP-4006): one byte in front of each message names
the channel; the last message, on the error channel, is a Status with the exit code.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from orchestrator.cli.connection import Connection, add_connection_flags, namespace_of, run_client
from orchestrator.cli.discovery import Discovery
from orchestrator.cli.errors import CliError, ServerError, status_of
from orchestrator.cli.flags import Parser, UsageError
from orchestrator.cli.targets import all_containers, default_container, find_object, pods_of

if TYPE_CHECKING:
    from httpx2.websockets import AsyncWebSocketSession

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
INPUT_BYTES: Final = 32 * 1024
PARTS_PENDING_MAX: Final = 16


def parser() -> Parser:
    """The flags of `exec`."""
    flags = Parser(
        "exec",
        "Run a command in a container",
        usage="POD | TYPE/NAME [-c CONTAINER] [-i] [-t] -- COMMAND [ARGUMENT...]",
        examples=(
            "  orchestrator exec web-1 -- env\n"
            "  orchestrator exec -it deployment/web -- sh\n"
            "  tar c . | orchestrator exec -i web-1 -c app -- tar x -C /srv\n"
        ),
    )
    flags.add_argument("what", nargs="*", help=argparse.SUPPRESS)
    flags.add_argument("-c", "--container", default="", metavar="NAME", help="which container")
    flags.add_flag("-i", "--stdin", help="pass our stdin to the command")
    flags.add_flag("-t", "--tty", help="give the command a terminal")
    flags.add_flag("-q", "--quiet", help="print nothing but the command's output")
    add_connection_flags(flags)
    return flags


def run(arguments: Sequence[str]) -> int:
    """Run a command; returns its exit code."""
    own, command = list(arguments), list[str]()
    if "--" in own:
        split = own.index("--")
        own, command = own[:split], own[split + 1 :]
    parsed = parser().parse(own)
    if not parsed.what:
        raise UsageError("error: pod, type/name or --filename must be specified")
    if not command:
        raise UsageError(
            "error: exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead\n"
            "See 'orchestrator exec -h' for help and examples"
            if len(parsed.what) > 1
            else "error: you must specify at least one command for the container"
        )
    if len(parsed.what) > 1:
        raise UsageError(f"error: unexpected argument: {parsed.what[1]}")
    parsed.command = command
    return run_client(_main, parsed)


async def _main(connection: Connection, arguments: argparse.Namespace) -> int:
    namespace = namespace_of(arguments, connection)
    if "/" in arguments.what[0]:
        discovery = await Discovery.load(connection)
        resource, obj = await find_object(connection, discovery, arguments.what, namespace)
        pod = (await pods_of(connection, resource, obj, namespace))[0]
    else:
        pod = await connection.get(f"/api/v1/namespaces/{namespace}/pods/{arguments.what[0]}")
    name = pod["metadata"]["name"]
    phase = (pod.get("status") or {}).get("phase")
    if phase in ("Succeeded", "Failed"):
        raise CliError(f"error: cannot exec into a container in a completed pod; current phase is {phase}")
    container = arguments.container
    if container and container not in all_containers(pod):
        raise CliError(f"error: container {container} is not valid for pod {name}")
    if not container:
        container = default_container(pod)
        if len(pod["spec"]["containers"]) > 1 and not arguments.quiet:
            names = ", ".join(all_containers(pod))
            print(f'Defaulted container "{container}" out of: {names}', file=sys.stderr)
    tty = arguments.tty
    if tty and not (arguments.stdin and sys.stdin.isatty()):
        if not arguments.quiet:
            print("Unable to use a TTY - input is not a terminal or the right kind of file", file=sys.stderr)
        tty = False
    query = [("command", word) for word in arguments.command]
    query += [("container", container), ("stdout", "true")]
    if arguments.stdin:
        query.append(("stdin", "true"))
    query.append(("tty", "true") if tty else ("stderr", "true"))
    return await _run(connection, f"/api/v1/namespaces/{namespace}/pods/{name}/exec", query, arguments, tty=tty)


async def _run(
    connection: Connection, path: str, query: Sequence[tuple[str, str]], arguments: argparse.Namespace, *, tty: bool
) -> int:
    import httpx2
    from httpx2.websockets import HTTPXWSException, WebSocketUpgradeError

    failure: BaseException | None = None
    status: dict[str, object] = {}
    # The session runs in task groups, so what it raises comes in a group; a `raise` in `except*` would make another.
    try:
        async with connection.websocket(path, query=query, subprotocols=PROTOCOLS) as socket:
            with _raw_terminal() if tty else contextlib.nullcontext():
                status = await _session(socket, with_stdin=arguments.stdin, tty=tty)
    except* (HTTPXWSException, httpx2.HTTPError) as group:
        failure = _first(group)
    if isinstance(failure, WebSocketUpgradeError):
        raise ServerError(status_of(failure.response.status_code, failure.response.content))
    if failure is not None and not status:
        raise CliError(f"error: the connection to the container was lost: {failure or type(failure).__name__}")
    code = exit_code_of(status)
    if code and not arguments.quiet:
        print(f"command terminated with exit code {code}", file=sys.stderr)
    return code


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def exit_code_of(status: dict[str, object]) -> int:
    """The exit code in the Status that ends a session; CliError when the command could not run at all."""
    if status.get("status") == "Success":
        return 0
    details = status.get("details")
    causes = details.get("causes") or () if isinstance(details, dict) else ()
    if status.get("reason") == "NonZeroExitCode":
        for cause in causes:
            if cause.get("reason") == "ExitCode":
                return int(cause["message"])
    raise CliError(f"error: {status.get('reason') or 'Internal error'}: {status.get('message') or status}")


async def _session(socket: AsyncWebSocketSession, *, with_stdin: bool, tty: bool) -> dict[str, object]:
    """Carry bytes until the command ends; returns the final Status."""
    async with asyncio.TaskGroup() as group:
        helpers = []
        if with_stdin:
            helpers.append(group.create_task(_send_stdin(socket), name="exec/stdin"))
        if tty:
            helpers.append(group.create_task(_send_sizes(socket), name="exec/size"))
        try:
            return await _receive(socket)
        finally:
            for helper in helpers:
                helper.cancel()


async def _receive(socket: AsyncWebSocketSession) -> dict[str, object]:
    streams = {STDOUT: sys.stdout.buffer, STDERR: sys.stderr.buffer}
    while True:
        message = await socket.receive_bytes()
        if not message:
            continue
        channel, data = message[0], message[1:]
        if channel == ERROR:
            status: dict[str, object] = json.loads(data)
            return status
        if channel in streams and data:
            streams[channel].write(data)
            streams[channel].flush()


async def _send_stdin(socket: AsyncWebSocketSession) -> None:
    """Send our stdin until it ends, then say so (v5); read in a thread, as it may be a file."""
    import threading

    loop = asyncio.get_running_loop()
    parts: asyncio.Queue[bytes] = asyncio.Queue()
    room = threading.Semaphore(PARTS_PENDING_MAX)

    def read() -> None:
        descriptor = sys.stdin.fileno()
        while True:
            room.acquire()
            try:
                part = os.read(descriptor, INPUT_BYTES)
            except OSError:
                part = b""
            try:
                loop.call_soon_threadsafe(parts.put_nowait, part)
            except RuntimeError:
                return  # the session is over
            if not part:
                return

    # A daemon: a read of a terminal cannot be interrupted, and must not keep the process alive.
    threading.Thread(target=read, name="exec/stdin", daemon=True).start()
    while part := await parts.get():
        room.release()
        await socket.send_bytes(bytes([STDIN]) + part)
    if socket.subprotocol == PROTOCOLS[0]:
        await socket.send_bytes(bytes([CLOSE, STDIN]))


async def _send_sizes(socket: AsyncWebSocketSession) -> None:
    """Tell the terminal's size now and whenever it changes."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    changed.set()
    loop.add_signal_handler(signal.SIGWINCH, changed.set)
    try:
        while True:
            await changed.wait()
            changed.clear()
            size = os.get_terminal_size(sys.stdin.fileno())
            message = json.dumps({"Width": size.columns, "Height": size.lines}).encode()
            await socket.send_bytes(bytes([RESIZE]) + message)
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Every key goes to the command; the terminal is as before at the end, whatever happens."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)  # what was typed ahead is for the command too
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
