"""Runs `python -m orchestrator` as a user does: a process of its own, spoken to over HTTPS."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.accounts import Account

READY = re.compile(r"ready (https://\S+) kubeconfig=(\S+)\n")
START_SECONDS_MAX = 60.0


class OrchestratorProcess:
    """One orchestrator on a data dir; can be stopped, killed and started again."""

    def __init__(self, data_dir: Path, *options: str, account: Account | None = None) -> None:
        """An account: somebody else runs it."""
        self.account = account
        self.data_dir = data_dir
        self.options = options
        self.url = ""
        self.kubeconfig = data_dir / "kubeconfig"
        self.log = data_dir.parent / f"{data_dir.name}.log"
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running orchestrator."""
        assert self._process is not None
        return self._process.pid

    @property
    def has_containers(self) -> bool:
        """Whether its nodes run on an Engine; hollow ones leave nothing on the machine."""
        return (self.data_dir / "cluster-id").exists()

    @property
    def cluster_id(self) -> str:
        """What names this cluster's containers and network."""
        return (self.data_dir / "cluster-id").read_text().strip()

    def start(self) -> float:
        """Start and wait for the ready line; returns how many seconds that took."""
        command = [
            *self._program(), "up",
            "--data-dir", str(self.data_dir), "--listen", "127.0.0.1:0", *self.options,
        ]  # fmt: skip
        started = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, **self._runs_as())
        line = self._read_line(START_SECONDS_MAX)
        match = READY.fullmatch(line)
        if not match:
            self.kill()
            raise AssertionError(f"no ready line but {line!r}; the log says:\n{self.tail()}")
        self.url, self.kubeconfig = match[1], Path(match[2])
        return time.monotonic() - started

    def _program(self) -> list[str]:
        return [sys.executable if self.account is None else self.account.python, "-m", "orchestrator"]

    def _runs_as(self) -> dict[str, Any]:
        return {"env": clean_environment()} if self.account is None else self.account.options()

    def _read_line(self, seconds: float) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                return ""
        return self._process.stdout.readline()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(20)
        self._close()
        return code

    def kill(self) -> None:
        """kill -9."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._close()

    def kill_now(self) -> None:
        """kill -9 from any thread, without waiting for the end; `wait_killed` does."""
        assert self._process is not None
        self._process.kill()

    def wait_killed(self, seconds: float) -> bool:
        """Wait for the end after `kill_now`; False when nobody killed it for so long."""
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._close()
        return True

    def _close(self) -> None:
        assert self._process is not None
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    def down(self, *options: str) -> subprocess.CompletedProcess[str]:
        """`python -m orchestrator down`: remove everything that the cluster left on the machine."""
        return subprocess.run(
            [*self._program(), "down", "--data-dir", str(self.data_dir), *options],
            capture_output=True, text=True, check=True, timeout=120, **self._runs_as(),
        )  # fmt: skip

    def tail(self, lines: int = 60) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def clean_environment() -> dict[str, str]:
    """The environment without options of a cluster that a developer may have set."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ORCHESTRATOR_") and name != "KUBECONFIG"
    }


class Kubectl:
    """One kubectl program on one cluster."""

    def __init__(self, program: Path, process: OrchestratorProcess, *, namespace: str = "default") -> None:
        self.program = program
        self.process = process
        self.namespace = namespace
        self.home = process.data_dir / "kubectl-home"
        self.home.mkdir(exist_ok=True)

    @property
    def minor(self) -> int:
        """The minor version of this kubectl."""
        output = subprocess.run(
            [self.program, "version", "--client", "-o", "json"], capture_output=True, text=True, check=True
        ).stdout
        return int(json.loads(output)["clientVersion"]["minor"].rstrip("+"))

    def arguments(self, *arguments: str) -> list[str]:
        """The whole command line."""
        return [
            str(self.program), "--kubeconfig", str(self.process.kubeconfig), "-n", self.namespace, *arguments
        ]  # fmt: skip

    def environment(self, **extra: str) -> dict[str, str]:
        """kubectl's own: caches in a folder of the test."""
        return {**clean_environment(), "HOME": str(self.home), **extra}

    def run(
        self, *arguments: str, stdin: str | None = None, timeout: float = 60.0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, whatever the exit code."""
        return subprocess.run(
            self.arguments(*arguments), input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
            env=self.environment(**environment),
        )  # fmt: skip

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 60.0, **environment: str) -> str:
        """Run to the end; the output, or AssertionError with everything that helps."""
        try:
            done = self.run(*arguments, stdin=stdin, timeout=timeout, **environment)
        except subprocess.TimeoutExpired as late:
            raise AssertionError(
                f"kubectl {' '.join(arguments)} did not end in {timeout} s"
                f"\n--- what there is\n{self.run('get', 'nodes,namespaces,jobs,pods', '-o', 'yaml').stdout}"
                f"\n--- log of the orchestrator\n{self.process.tail()}"
            ) from late
        assert done.returncode == 0, (
            f"kubectl {' '.join(arguments)} exited with {done.returncode}\n{done.stdout}{done.stderr}"
            f"\n--- log of the orchestrator\n{self.process.tail()}"
        )
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run with `-o json`."""
        return json.loads(self(*arguments, "-o", "json"))

    def wait_for(
        self,
        kind: str,
        predicate: Callable[[list[dict[str, Any]]], bool],
        *,
        selector: str = "",
        options: Sequence[str] = (),
        seconds: float = 60.0,
    ) -> list[dict[str, Any]]:
        """Follow `get --watch` until the predicate holds for the objects; returns them."""
        arguments = ["get", kind, "--watch", "--output-watch-events", "-o", "json", *options]
        if selector:
            arguments += ["-l", selector]
        objects: dict[str, dict[str, Any]] = {}
        process = subprocess.Popen(
            self.arguments(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )
        try:
            assert process.stdout is not None
            if predicate([]):
                return []
            return _follow(process.stdout, objects, predicate, time.monotonic() + seconds)
        except TimeoutError:
            shown = {key: obj.get("status") for key, obj in objects.items()}
            raise AssertionError(
                f"{kind} did not come to the expected state in {seconds} s: {json.dumps(shown, indent=1)}"
                f"\n--- log of the orchestrator\n{self.process.tail()}"
            ) from None
        finally:
            process.kill()
            process.communicate()


def _follow(
    stream: Any,
    objects: dict[str, dict[str, Any]],
    predicate: Callable[[list[dict[str, Any]]], bool],
    deadline: float,
) -> list[dict[str, Any]]:
    """Read concatenated, indented JSON events until the predicate holds; TimeoutError at the deadline."""
    decoder = json.JSONDecoder()
    buffer = ""
    descriptor = stream.fileno()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(max(deadline - time.monotonic(), 0)):
                raise TimeoutError
            chunk = os.read(descriptor, 1 << 20)
            if not chunk:
                raise TimeoutError
            buffer += chunk.decode(errors="replace")
            while True:
                buffer = buffer.lstrip()
                try:
                    event, end = decoder.raw_decode(buffer)
                except json.JSONDecodeError:
                    break
                buffer = buffer[end:]
                obj = event["object"]
                key = f"{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"
                if event["type"] == "DELETED":
                    objects.pop(key, None)
                else:
                    objects[key] = obj
                if predicate(list(objects.values())):
                    return list(objects.values())


def docker(*arguments: str) -> str:
    """Run the docker client; its output."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether the pod's Ready condition is true."""
    conditions: Sequence[dict[str, Any]] = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
