"""Where a webhook is, of admission or of conversion: a URL, or a Service; also the Services of APIServices."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.defaulting import fill


def default_webhook_service(config: dict[str, Any]) -> None:
    """The port of a service that is called is 443."""
    service = config.get("service")
    if isinstance(service, dict):
        fill(service, port=443)


def validate_client_config(config: dict[str, Any], path: str) -> list[Cause]:
    """Exactly one of a URL and a Service."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [fields.required(path, "exactly one of url or service is required")]
    if url is not None:
        return _validate_url(url, f"{path}.url")
    return validate_webhook_service(service or {}, f"{path}.service")


def _validate_url(url: str, path: str) -> list[Cause]:
    form = "; desired format: https://host[/path]"
    causes: list[Cause] = []
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return [fields.required(path, f"url must be a valid URL: {error}{form}")]
    if parts.scheme != "https":
        causes.append(fields.invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{form}"))
    if not parts.netloc:
        causes.append(fields.invalid(path, parts.netloc, f"host must be specified{form}"))
    if "@" in parts.netloc:
        causes.append(fields.invalid(path, parts.username or "", "user information is not permitted in the URL"))
    if parts.fragment:
        causes.append(fields.invalid(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        causes.append(fields.invalid(path, parts.query, "query parameters are not permitted in the URL"))
    return causes


def validate_webhook_service(service: dict[str, Any], path: str) -> list[Cause]:
    """Name, namespace, port and path of a Service that is called."""
    causes: list[Cause] = []
    if not service.get("name"):
        causes.append(fields.required(f"{path}.name", "service name is required"))
    if not service.get("namespace"):
        causes.append(fields.required(f"{path}.namespace", "service namespace is required"))
    port = service.get("port")
    for text in names.is_port_number(port or 0):
        causes.append(fields.invalid(f"{path}.port", port or 0, f"port is not valid: {text}"))
    where = service.get("path")
    if where is None:
        return causes
    if where in ("", "/"):
        return causes
    if where == "//":
        return [*causes, fields.invalid(f"{path}.path", where, "segment[0] may not be empty")]
    if not where.startswith("/"):
        causes.append(fields.invalid(f"{path}.path", where, "must start with a '/'"))
    for position, part in enumerate(where[1:].removesuffix("/").split("/")):
        if not part:
            causes.append(fields.invalid(f"{path}.path", where, f"segment[{position}] may not be empty"))
            continue
        for text in names.is_dns1123_subdomain(part):
            causes.append(fields.invalid(f"{path}.path", where, f"segment[{position}]: {text}"))
    return causes
