"""Which certificate a connection gets, by the name that it asks for."""

from __future__ import annotations

import base64
import ssl
from typing import Any

import pytest

from orchestrator.ingress.certificates import Certificates, self_signed


def secret(certificate: bytes, key: bytes, name: str) -> dict[str, Any]:
    data = {"tls.crt": base64.b64encode(certificate).decode(), "tls.key": base64.b64encode(key).decode()}
    return {"metadata": {"name": name, "uid": name, "resourceVersion": "1"}, "data": data}


ONE, TWO = self_signed(), self_signed()
SECRETS = {
    "default/one": secret(*ONE, "one"),
    "default/two": secret(*TWO, "two"),
    "default/torn": secret(ONE[0], TWO[1], "torn"),
}
NAMES = {"one.example": "default/one", "*.wild.example": "default/two", "torn.example": "default/torn"}


def presented(context: ssl.SSLContext, name: str) -> bytes:
    """The certificate that a client that asks for this name is shown."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    done = 0
    while done < 2:
        done = 0
        for side in (client, server):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return shown


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("one.example", ONE),
        ("ONE.example", ONE),
        ("a.wild.example", TWO),
        ("wild.example", None),
        ("other.example", None),
        ("torn.example", None),
    ],
)
def test_certificates_by_server_name(name: str, wanted: tuple[bytes, bytes] | None) -> None:
    certificates = Certificates(secrets=lambda: NAMES, find_secret=SECRETS.get)
    shown = presented(certificates.context(), name)
    known = {ssl.PEM_cert_to_DER_cert(pair[0].decode()) for pair in (ONE, TWO)}
    if wanted is None:
        assert shown not in known  # the controller's own
    else:
        assert shown == ssl.PEM_cert_to_DER_cert(wanted[0].decode())
