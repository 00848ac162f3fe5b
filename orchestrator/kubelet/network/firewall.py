"""Applies firewall text: `nft -f -`, `iptables -S` and `iptables-restore`; decides nothing.

Mirrors kube-proxy's utiliptables/knftables runners.
"""

from __future__ import annotations

import asyncio
import shutil

from orchestrator.kubelet.runtime import RuntimeFailure

COMMAND_SECONDS_MAX = 30.0


class NetworkUnavailable(RuntimeFailure):
    """The pod network cannot be made on this machine; the message says what is missing."""


async def run_command(*command: str, text: str = "") -> str:
    """The standard output of a command that is fed `text`; NetworkUnavailable with its last words."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(COMMAND_SECONDS_MAX):
            output, errors = await process.communicate(text.encode())
    except TimeoutError:
        raise NetworkUnavailable(f"{command[0]} did not end within {COMMAND_SECONDS_MAX:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        detail = errors.decode(errors="replace").strip()[:500]
        raise NetworkUnavailable(f"{' '.join(command)}: {detail or f'exit code {process.returncode}'}")
    return output.decode(errors="replace")


async def apply_nft(text: str) -> None:
    """One atomic nftables transaction."""
    await run_command("nft", "-f", "-", text=text)


async def delete_nft_table(table: str) -> None:
    """Remove a table of family ip; succeeds when there is none."""
    await apply_nft(f"table ip {table} {{}}\ndelete table ip {table}\n")


async def list_forward_rules() -> str | None:
    """`iptables -S`, or None where there is no iptables (then Docker has not put rules in the way either)."""
    if shutil.which("iptables") is None:
        return None
    return await run_command("iptables", "-w", "5", "-S")


async def restore_forward_rules(text: str) -> None:
    await run_command("iptables-restore", "-w", "5", "--noflush", text=text)
