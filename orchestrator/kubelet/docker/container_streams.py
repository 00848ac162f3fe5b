"""Logs, exec and attach of containers on a Docker Engine.

Mirrors the streaming half of the container runtime interface.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Sequence

from orchestrator.aiokit.clock import Clock
from orchestrator.aiokit.time_limit import time_limit
from orchestrator.kubelet.docker import streams
from orchestrator.kubelet.docker.engine import DockerEngine, EngineError
from orchestrator.kubelet.docker.inspections import Inspections
from orchestrator.kubelet.docker.processes import is_process_of
from orchestrator.kubelet.runtime import LogOptions, RuntimeFailure
from orchestrator.logs import get_logger

EXEC_OUTPUT_BYTES_MAX = 16 * 1024
RESIZE_ATTEMPTS_MAX = 20


class ContainerStreams:
    """The streams of the containers of one node."""

    def __init__(self, *, engine: DockerEngine, inspections: Inspections, clock: Clock, node_name: str) -> None:
        self._engine = engine
        self._inspections = inspections
        self._clock = clock
        self._log = get_logger("kubelet/runtime", node=node_name)

    async def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        """What a container wrote, piece by piece; RuntimeFailure when it is gone."""
        inspected = await self._inspections.lookup(container_id)
        if inspected is None:
            raise RuntimeFailure(f"container {container_id} is gone")
        try:
            async for piece in streams.read_logs(self._engine, container_id, options, tty=inspected.tty):
                yield piece
        except EngineError as error:
            raise RuntimeFailure(str(error)) from error

    async def exec(
        self,
        container_id: str,
        command: Sequence[str],
        *,
        stdin: bool,
        tty: bool,
        stdout: bool = True,
        stderr: bool = True,
    ) -> streams.EngineStreamSession:
        """Start a command in a container; RuntimeFailure."""
        session, _ = await self._exec(container_id, command, stdin=stdin, tty=tty, stdout=stdout, stderr=stderr)
        return session

    async def _exec(
        self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool, stdout: bool, stderr: bool
    ) -> tuple[streams.EngineStreamSession, str]:
        body = {
            "AttachStdin": stdin,
            "AttachStdout": stdout,
            "AttachStderr": stderr and not tty,
            "Tty": tty,
            "Cmd": list(command),
        }
        try:
            answer = await self._engine.call("POST", f"containers/{container_id}/exec", body=json.dumps(body))
        except EngineError as error:
            raise RuntimeFailure(str(error)) from error
        exec_id = str(answer["Id"])
        start = json.dumps({"Detach": False, "Tty": tty}).encode()
        ended = self._engine.watch_exec(exec_id)
        try:
            stream = await self._engine.hijack(f"exec/{exec_id}/start", tty=tty, body=start)
        except BaseException as error:
            self._engine.forget_exec(exec_id)
            if isinstance(error, EngineError):
                raise RuntimeFailure(str(error)) from error
            raise
        session = streams.EngineStreamSession(
            stream,
            resize=lambda width, height: self._resize(f"exec/{exec_id}/resize", width, height),
            wait=lambda is_told: streams.wait_exec(self._engine, exec_id, ended, is_told=is_told),
            is_exec=True,
            closed=lambda: self._engine.forget_exec(exec_id),
        )
        return session, exec_id

    async def _resize(self, path: str, width: int, height: int) -> None:
        """Set the terminal's size; the Engine refuses until the process has really started."""
        for attempt in range(RESIZE_ATTEMPTS_MAX):
            try:
                await self._engine.call("POST", path, params={"w": str(width), "h": str(height)})
            except EngineError as error:
                if attempt == RESIZE_ATTEMPTS_MAX - 1:
                    raise RuntimeFailure(f"resizing the terminal: {error}") from error
                await self._clock.sleep(0.01)
            else:
                return

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> tuple[int, bytes]:
        """Exit code and first output of a command; TimeoutError, after which it is ended."""
        session, exec_id = await self._exec(container_id, command, stdin=False, tty=False, stdout=True, stderr=True)
        output = bytearray()
        try:
            async with time_limit(self._clock, timeout_seconds if timeout_seconds > 0 else 1e9):
                while (piece := await session.read()) is not None:
                    output += piece[1][: EXEC_OUTPUT_BYTES_MAX - len(output)]
                return await session.wait(), bytes(output)
        except TimeoutError:
            await self._kill_exec(exec_id)
            raise TimeoutError(f"command {' '.join(command)!r} timed out after {timeout_seconds:g}s") from None
        finally:
            await session.close()

    async def _kill_exec(self, exec_id: str) -> None:
        """End a command that took too long; the Engine itself has no call for that."""
        try:
            state = await self._engine.call("GET", f"exec/{exec_id}/json")
        except EngineError as error:
            if error.status == 404:
                return  # it has ended with its container
            raise RuntimeFailure(str(error)) from error
        pid = int(state.get("Pid") or 0)
        container_id = str(state.get("ContainerID", ""))
        if not state.get("Running") or not pid or not container_id:
            return
        try:
            if is_process_of(pid, container_id):
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it has just ended
        except PermissionError as error:
            self._log.warning("a command that timed out goes on", pid=pid, reason=str(error))

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> streams.EngineStreamSession:
        """Join the streams of a container's own process; RuntimeFailure."""
        inspected = await self._inspections.lookup(container_id)
        if inspected is None:
            raise RuntimeFailure(f"container {container_id} is gone")
        query = f"stream=1&logs=0&stdin={int(stdin)}&stdout=1&stderr={int(not tty)}"
        try:
            stream = await self._engine.hijack(f"containers/{container_id}/attach?{query}", tty=tty)
        except EngineError as error:
            raise RuntimeFailure(str(error)) from error
        return streams.EngineStreamSession(
            stream,
            resize=lambda width, height: self._resize(f"containers/{container_id}/resize", width, height),
            wait=lambda _: streams.wait_container(self._engine, container_id),
            is_exec=False,
            # To the Engine the end of any other input is the end of the whole attachment, output included.
            can_end_stdin=inspected.stdin_once and not inspected.tty,
        )
