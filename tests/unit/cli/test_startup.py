"""The late trust store of aiohttp's default context."""

from __future__ import annotations

import subprocess
import sys


def test_aiohttp_trusts_the_same_authorities_only_later() -> None:
    script = """
import ssl
from orchestrator.cli.startup import LazyTrust, import_aiohttp
create = ssl.create_default_context
import_aiohttp()
assert ssl.create_default_context is create
from aiohttp import TCPConnector, connector
late = connector._SSL_CONTEXT_VERIFIED
usual = ssl.create_default_context()
assert isinstance(late, LazyTrust)
assert late.cert_store_stats()["x509_ca"] == 0
late.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="example.com")
assert late.cert_store_stats() == usual.cert_store_stats()
assert (late.verify_mode, late.check_hostname) == (usual.verify_mode, usual.check_hostname)
assert (late.verify_flags, late.options) == (usual.verify_flags, usual.options)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
