"""Applies firewall text: `nft -f -`, `iptables -S` and `iptables-restore`; decides nothing.

Mirrors kube-proxy's utiliptables/knftables runners.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess

from orchestrator.aiokit.commands import run_command
from orchestrator.kubelet.runtime import RuntimeFailure

COMMAND_SECONDS_MAX = 30.0


class NetworkUnavailable(RuntimeFailure):
    """The pod network cannot be made on this machine; the message says what is missing."""


async def run(*command: str, text: str = "") -> str:
    """The standard output of a command that is fed `text`; NetworkUnavailable with its last words."""
    try:
        outcome = await run_command(*command, text=text, seconds_max=COMMAND_SECONDS_MAX)
    except TimeoutError:
        raise NetworkUnavailable(f"{command[0]} did not end within {COMMAND_SECONDS_MAX:.0f} s") from None
    if outcome.code != 0:
        detail = outcome.errors.strip()[:500]
        raise NetworkUnavailable(f"{' '.join(command)}: {detail or f'exit code {outcome.code}'}")
    return outcome.output


async def apply_nft(text: str) -> None:
    """One atomic nftables transaction; NetworkUnavailable, which says what helps where the kernel has no nftables."""
    try:
        await run("nft", "-f", "-", text=text)
    except NetworkUnavailable as error:
        if os.strerror(errno.EOPNOTSUPP) not in str(error):
            raise
        raise NetworkUnavailable(f"the kernel lacks nftables, which `network: docker` does without: {error}") from error


def apply_nft_here(text: str) -> None:
    """The same in the network namespace of the calling thread; blocking."""
    try:
        subprocess.run(
            ["nft", "-f", "-"], input=text, text=True, check=True, capture_output=True, timeout=COMMAND_SECONDS_MAX
        )
    except subprocess.CalledProcessError as error:
        raise NetworkUnavailable(f"nft -f -: {error.stderr.strip()[:500]}") from None
    except subprocess.TimeoutExpired:
        raise NetworkUnavailable(f"nft did not end within {COMMAND_SECONDS_MAX:.0f} s") from None


async def delete_nft_table(table: str) -> None:
    """Remove a table of family ip; succeeds when there is none, also where the kernel could not have one."""
    if f"table ip {table}" not in (await run("nft", "list", "tables", "ip")).splitlines():
        return
    await apply_nft(f"table ip {table} {{}}\ndelete table ip {table}\n")


async def list_forward_rules() -> str | None:
    """`iptables -S`, or None where there is no iptables (then Docker has not put rules in the way either)."""
    if shutil.which("iptables") is None:
        return None
    return await run("iptables", "-w", "5", "-S")


async def restore_forward_rules(text: str) -> None:
    await run("iptables-restore", "-w", "5", "--noflush", text=text)
