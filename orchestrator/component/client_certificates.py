"""Who a client certificate stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def user_of_certificate(certificate: Mapping[str, Any]) -> tuple[str, tuple[str, ...]] | None:
    """(name, groups) of a verified certificate as `ssl` shows it: CN and O of its subject; None without a CN."""
    attributes = [pair for relative_name in certificate.get("subject", ()) for pair in relative_name]
    name = next((value for key, value in attributes if key == "commonName"), "")
    if not name:
        return None
    return name, tuple(value for key, value in attributes if key == "organizationName")
