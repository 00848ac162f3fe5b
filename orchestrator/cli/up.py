"""`up`: a cluster in this process, from the first byte to the ready line and to the end on a signal.

Owns the process: its signals, its one line on stdout, its exit code, and the lock on its data
directory. The cluster itself is `orchestrator.cluster`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from orchestrator.aiokit import memory
from orchestrator.cli.flags import EXIT_ERROR, EXIT_USAGE, Parser
from orchestrator.cli.options import configuration
from orchestrator.config import Config, ConfigError
from orchestrator.config.options import default_data_dir

COLLECTOR_THRESHOLDS = (100_000, 20, 50)
"""Objects of the API are trees without cycles, so that the cycle collector mostly looks in vain: a fifth of the CPU."""
SETTLE_SECONDS = 5.0
"""When the first work of all components is done: what it needed for a moment is given back to the system then."""
STOP_SECONDS = 4.5
"""A stop on a signal ends within this time: the contract says 5 s, exit included."""
SHUTDOWN_SPARE_SECONDS = 10.0
"""What a graceful node shutdown may take beyond its periods: containers are killed, statuses written."""
STOP_SECONDS_EPHEMERAL = 60.0
"""Removing the containers of an ephemeral cluster takes as long as the Engine takes."""


def parser() -> Parser:
    """The options of `up`."""
    flags = Parser(
        "up",
        "Run a cluster in this process until SIGTERM or SIGINT",
        usage="[options]",
        examples=(
            "  orchestrator up\n"
            "  orchestrator up --nodes 3 --listen 127.0.0.1:0\n"
            "  orchestrator up --runtime hollow --nodes 100 --ephemeral\n"
        ),
        usage_exit_code=EXIT_USAGE,
    )
    flags.add_argument("--config", metavar="FILE", help="configuration file; config/orchestrator.yaml explains all")
    flags.add_argument("--data-dir", metavar="DIR", help="where the cluster lives (~/.local/share/orchestrator)")
    flags.add_argument("--listen", metavar="HOST:PORT", help="address of the API server (127.0.0.1:6443); port 0: any")
    flags.add_argument("--kubeconfig", metavar="FILE", help="where the kubeconfig is written (DIR/kubeconfig)")
    flags.add_argument("--nodes", metavar="N", type=int, help="number of nodes (1)")
    flags.add_argument("--runtime", metavar="docker|hollow", help="what runs containers (docker)")
    flags.add_argument("--network", metavar="auto|kernel|docker", help="what the pods' network is made of (auto)")
    flags.add_flag("--ephemeral", help="keep nothing: state in memory, containers removed on exit")
    return flags


def run(arguments: Sequence[str]) -> int:
    """Run a cluster until a signal; returns the exit code."""
    # Nothing that a start makes is garbage; the collector is back when the cluster is ready.
    gc.disable()
    config = configuration(parser().parse(arguments))
    from orchestrator import logs
    from orchestrator.cli.startup import import_aiohttp
    from orchestrator.store import StoreError
    from orchestrator.store.log import hold_lock

    memory.use_one_arena()
    logs.configure(level=config.log_level, format=config.log_format)  # type: ignore[arg-type]
    import_aiohttp()
    try:
        with _prepared(config) as prepared:
            if not prepared.ephemeral:
                return _run(prepared)
            prepared.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            with hold_lock(prepared.data_dir / "store.db"):
                return _run(prepared)
    except StoreError as error:
        return _fail(f"the data directory {config.data_dir} cannot be used: {error}")
    except ConfigError as error:
        return _fail(str(error))  # what only the parts that are meant can check
    except OSError as error:
        return _fail(_explain(error, config))
    except Exception as error:
        from orchestrator.kubelet.runtime import RuntimeFailure

        if isinstance(error, RuntimeFailure):
            return _fail(f"{error}; `--runtime hollow` runs without a Docker Engine")
        raise


@contextlib.contextmanager
def _prepared(config: Config) -> Iterator[Config]:
    """The configuration with a data directory; that of an ephemeral cluster that names none is temporary."""
    if not config.ephemeral or config.data_dir != default_data_dir():
        yield config
        return
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-"))
    try:
        yield replace(config, data_dir=folder)
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a data directory, unless something is still mounted in it: behind that are somebody's data."""
    from orchestrator.kubelet.volumes.mounts import mounted_below

    try:
        left = mounted_below(folder.resolve())
    except FileNotFoundError:
        left = []  # not Linux: nothing is mounted by nodes
    if left:
        print(f"{folder} is left: something is still mounted at {left[0]}", file=sys.stderr)
        return
    shutil.rmtree(folder, ignore_errors=True)


def _run(config: Config) -> int:
    import uvloop

    return uvloop.run(_serve(config))


async def _serve(config: Config) -> int:
    from orchestrator.cluster.cluster import Cluster, Parts

    parts = Parts(
        nodes=config.nodes > 0,
        network=config.runtime == "docker",
        storage=True,
        system_pods=config.system_pods and config.nodes > 0,
    )
    loop = asyncio.get_running_loop()
    serving = asyncio.current_task()
    assert serving is not None
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if stopping:
            os._exit(EXIT_ERROR)  # asked twice: at once
        stopping = True
        seconds = STOP_SECONDS_EPHEMERAL if config.ephemeral else STOP_SECONDS
        shutdown = config.shutdown_seconds[0]
        loop.call_later(seconds + (shutdown + SHUTDOWN_SPARE_SECONDS if shutdown else 0), _give_up)
        serving.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        async with Cluster(config, parts=parts) as cluster:
            await cluster.wait_ready()
            # What a start leaves behind lives as long as the process: the collector need not look at it again.
            gc.freeze()
            gc.enable()
            gc.set_threshold(*COLLECTOR_THRESHOLDS)
            # What only the start needed is most of what is free now.
            loop.call_later(SETTLE_SECONDS, memory.give_back)
            print(f"ready {cluster.url} kubeconfig={config.kubeconfig_path}", flush=True)
            cluster.show_system_pods()
            await loop.create_future()
    except asyncio.CancelledError:
        if not stopping:
            raise
    return 0


def _give_up() -> None:
    """End a stop that hangs: what counts is in the log already, and the next start adopts the containers."""
    from orchestrator.logs import get_logger

    waiting = sorted(task.get_name() for task in asyncio.all_tasks() if not task.done())
    get_logger("up").error("stop.timeout", waiting=waiting[:20], tasks=len(waiting))
    os._exit(EXIT_ERROR)


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return EXIT_ERROR


def _explain(error: OSError, config: Config) -> str:
    import errno

    text = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        return f"{config.listen} is in use by another program; choose another address with --listen, or port 0 for any"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{config.listen} is not an address of this machine"
    if error.filename is not None:
        return f"{error.filename}: {text}"
    return text
