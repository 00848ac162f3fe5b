"""`down`: removes what a cluster has on this machine, from its data directory alone.

Works after kill -9 and without a running cluster. Refuses while the cluster runs: its kubelets would
start again what is removed. Objects, certificates and logs in the data directory stay, so that the
next `up` brings the same cluster back.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.cli.flags import EXIT_ERROR, EXIT_USAGE, Parser
from orchestrator.cli.options import configuration
from orchestrator.config import Config


def parser() -> Parser:
    """The options of `down`."""
    flags = Parser(
        "down",
        "Remove every container, network rule and mount of a cluster that does not run",
        usage="[--data-dir DIR] [--config FILE]",
        examples="  orchestrator down\n  orchestrator down --data-dir build/demo/data\n",
        usage_exit_code=EXIT_USAGE,
    )
    flags.add_argument("--config", metavar="FILE", help="configuration file of the cluster")
    flags.add_argument("--data-dir", metavar="DIR", help="where the cluster lives (~/.local/share/orchestrator)")
    return flags


def run(arguments: Sequence[str]) -> int:
    """Remove what is there; nothing there is fine."""
    config = configuration(parser().parse(arguments))
    from orchestrator import logs
    from orchestrator.cluster.identity import read_cluster_id
    from orchestrator.store import StoreLocked
    from orchestrator.store.log import hold_lock

    logs.configure(level="warning", format=config.log_format)  # type: ignore[arg-type]
    try:
        cluster_id = read_cluster_id(config.data_dir)
        if cluster_id is None:
            print(f"nothing to remove: no containers were ever started from {config.data_dir}")
            return 0
        with hold_lock(config.data_dir / "store.db"):
            return asyncio.run(_remove(cluster_id, config))
    except StoreLocked as error:
        owner = str(error).partition(" is in use by ")[2]
        return _fail(f"the cluster in {config.data_dir} is running ({owner}); stop it first, for instance with SIGTERM")
    except (ValueError, OSError) as error:
        return _fail(str(error))


async def _remove(cluster_id: str, config: Config) -> int:
    from orchestrator.aiokit.clock import SystemClock
    from orchestrator.cluster.network import remove_cluster
    from orchestrator.kubelet.runtime import RuntimeFailure

    try:
        removed = await remove_cluster(
            cluster_id,
            clock=SystemClock(),
            engines=config.engine_addresses,
            data_dir=Path(config.data_dir),
        )
    except RuntimeFailure as error:
        return _fail(f"network rules and mounts of cluster {cluster_id} are removed, its containers are not: {error}")
    containers, mounts = _counted(removed.containers, "container"), _counted(removed.mounts, "mount")
    print(f"removed {containers}, {mounts} and the network rules of cluster {cluster_id}")
    return 0


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return EXIT_ERROR
