"""Forgets UDP conversations that lead to endpoints that are gone.

Connection tracking keeps the translation of a conversation for as long as packets come. TCP ends by itself
when its peer is gone; UDP does not notice. Mirrors kube-proxy's conntrack clean-up. Blocking functions,
called in a thread.
"""

from __future__ import annotations

import errno
import importlib.util
import socket
import sys
from collections.abc import Sequence
from typing import Any

from orchestrator.proxy.ruleset import StaleFlow


def forget_flows(flows: Sequence[StaleFlow]) -> int:
    """Delete the entries of these conversations; returns how many there were. OSError, NetlinkError."""
    # Lazy: only needed when a UDP endpoint goes.
    _skip_package_imports()
    from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]
    from pyroute2.netlink.nfnetlink.nfctsocket import (  # type: ignore[import-untyped]
        NFCTAttrTuple,
        NFCTSocket,
    )

    deleted = 0
    with NFCTSocket() as tracking:
        for flow in flows:
            frontend = flow.frontend
            address = {"daddr": frontend.address} if frontend.address else {}
            wanted = NFCTAttrTuple(proto=socket.IPPROTO_UDP, dport=frontend.port, **address)
            for entry in list(tracking.dump(tuple_orig=wanted)):
                original, peer = entry.get_attr("CTA_TUPLE_ORIG"), _peer(entry)
                if peer != (flow.target or _destination(original)):
                    continue
                try:
                    tracking.entry("del", tuple_orig=NFCTAttrTuple.from_netlink(socket.AF_INET, original))
                except NetlinkError as error:
                    if error.code != errno.ENOENT:  # it ended meanwhile
                        raise
                    continue
                deleted += 1
    return deleted


def _skip_package_imports() -> None:
    """Make `pyroute2` a package whose own module was not run; before anything of it is imported.

    That module imports every netlink family there is: 6 MiB and 40 ms. Its parts do without.
    """
    if "pyroute2" in sys.modules:
        return
    spec = importlib.util.find_spec("pyroute2")
    if spec is not None:
        sys.modules["pyroute2"] = importlib.util.module_from_spec(spec)


def _peer(entry: Any) -> tuple[str, int]:
    """Who answers in a conversation."""
    reply = entry.get_attr("CTA_TUPLE_REPLY")
    return (
        reply.get_attr("CTA_TUPLE_IP").get_attr("CTA_IP_V4_SRC"),
        reply.get_attr("CTA_TUPLE_PROTO").get_attr("CTA_PROTO_SRC_PORT"),
    )


def _destination(original: Any) -> tuple[str, int]:
    """Whom a conversation was addressed to."""
    return (
        original.get_attr("CTA_TUPLE_IP").get_attr("CTA_IP_V4_DST"),
        original.get_attr("CTA_TUPLE_PROTO").get_attr("CTA_PROTO_DST_PORT"),
    )
