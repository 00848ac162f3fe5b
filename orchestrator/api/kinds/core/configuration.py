"""ConfigMap and Secret: keys, sizes, types, immutability.

Mirrors ValidateConfigMap and ValidateSecret of k8s.io/kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, NAME, age, count, ref
from orchestrator.api.kinds.defaulting import drop_empty, fill_empty
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import CONFIG_MAPS, SECRETS

DATA_BYTES_MAX = 1024 * 1024

_REQUIRED_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_JSON_TYPES = ("kubernetes.io/dockercfg", "kubernetes.io/dockerconfigjson")
_SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"


def decoded_bytes(text: str | None) -> bytes:
    """The bytes of a base64 value; empty for null, and when it is not base64, which the decoder refuses earlier."""
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        return b""


def default_config_map(obj: Object) -> None:
    """Empty maps are left out."""
    drop_empty(obj, "data", "binaryData")


def validate_config_map(obj: Object) -> list[Cause]:
    """Keys, no key twice, at most 1 MiB."""
    causes: list[Cause] = []
    total = 0
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    for key in sorted(data):
        causes += [fields.invalid(fields.key("data", key), key, text) for text in names.is_config_map_key(key)]
        if key in binary:
            causes.append(fields.invalid(fields.key("data", key), key, "duplicate of key present in binaryData"))
        total += len(str(data[key]).encode())
    for key in sorted(binary):
        causes += [fields.invalid(fields.key("binaryData", key), key, text) for text in names.is_config_map_key(key)]
        total += len(decoded_bytes(binary[key]))
    if total > DATA_BYTES_MAX:
        causes.append(fields.too_long("[]", DATA_BYTES_MAX))
    return causes


def _validate_immutable(new: Object, old: Object, keys: tuple[str, ...]) -> list[Cause]:
    if not old.get("immutable"):
        return []
    causes = []
    if not new.get("immutable"):
        causes.append(fields.forbidden("immutable", "field is immutable when `immutable` is set"))
    for key in keys:
        if (new.get(key) or {}) != (old.get(key) or {}):
            causes.append(fields.forbidden(key, "field is immutable when `immutable` is set"))
    return causes


def validate_config_map_update(new: Object, old: Object) -> list[Cause]:
    """An immutable ConfigMap keeps its content."""
    return _validate_immutable(new, old, ("data", "binaryData")) + validate_config_map(new)


def default_secret(obj: Object) -> None:
    """The type is opaque; `stringData` is written into `data` and never stored."""
    fill_empty(obj, type="Opaque")
    strings = obj.pop("stringData", None)
    if strings:
        data = obj.get("data")
        if not isinstance(data, dict):
            data = obj["data"] = {}
        for key, value in strings.items():
            data[key] = base64.b64encode(str(value).encode()).decode()
    drop_empty(obj, "data")


def validate_secret(obj: Object) -> list[Cause]:
    """Keys, at most 1 MiB, and the keys that the type calls for."""
    causes: list[Cause] = []
    data = obj.get("data") or {}
    total = 0
    for key in sorted(data):
        causes += [fields.invalid(fields.key("data", key), key, text) for text in names.is_config_map_key(key)]
        total += len(decoded_bytes(data[key]))
    if total > DATA_BYTES_MAX:
        causes.append(fields.too_long("data", DATA_BYTES_MAX))
    kind = obj.get("type") or ""
    if kind == "kubernetes.io/service-account-token":
        annotations = obj.get("metadata", {}).get("annotations") or {}
        if not annotations.get(_SERVICE_ACCOUNT_NAME):
            causes.append(fields.required(fields.key("metadata.annotations", _SERVICE_ACCOUNT_NAME)))
    elif kind in _JSON_TYPES:
        key = _REQUIRED_KEYS[kind][0]
        path = fields.key("data", key)
        if key not in data:
            causes.append(fields.required(path))
        else:
            complaint = _json_complaint(decoded_bytes(data[key]))
            if complaint:
                causes.append(fields.invalid(path, "<secret contents redacted>", complaint))
    elif kind == "kubernetes.io/basic-auth":
        if "username" not in data and "password" not in data:
            causes += [fields.required(fields.key("data", key)) for key in ("username", "password")]
    elif kind == "kubernetes.io/ssh-auth":
        if not data.get("ssh-privatekey"):
            causes.append(fields.required(fields.key("data", "ssh-privatekey")))
    elif kind == "kubernetes.io/tls":
        for key in _REQUIRED_KEYS[kind]:
            if key not in data:
                causes.append(fields.required(fields.key("data", key)))
    return causes


# Simplified: the message names the first bad character as Go does only where decoding a value begins.
def _json_complaint(content: bytes) -> str:
    """What is wrong with a docker config, in the words of Go's JSON decoder for the usual cases."""
    text = content.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()):
            return "unexpected end of JSON input"
        char = text[error.pos]
        return f"invalid character '{char}' looking for beginning of value"
    if not isinstance(value, dict) and value is not None:
        kind = {str: "string", bool: "bool", list: "array"}.get(type(value), "number")
        return f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
    return ""


def validate_secret_update(new: Object, old: Object) -> list[Cause]:
    """The type never changes, and an immutable Secret keeps its content."""
    causes = []
    if new.get("type") != old.get("type"):
        causes.append(fields.immutable("type", new.get("type") or ""))
    causes += _validate_immutable(new, old, ("data",))
    return causes + validate_secret(new)


def _config_map_row(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), count(obj.get("data")) + count(obj.get("binaryData")), age(obj, now)]


CONFIG_MAP = Kind(
    CONFIG_MAPS,
    "io.k8s.api.core.v1.ConfigMap",
    "configmap",
    short_names=("cm",),
    default=default_config_map,
    validate=validate_config_map,
    validate_update=validate_config_map_update,
    columns=(NAME, Column("Data", description=ref("core.v1.ConfigMap", "data")), AGE),
    row=_config_map_row,
)


def _secret_row(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("type") or "", count(obj.get("data")), age(obj, now)]


SECRET = Kind(
    SECRETS,
    "io.k8s.api.core.v1.Secret",
    "secret",
    default=default_secret,
    validate=validate_secret,
    validate_update=validate_secret_update,
    columns=(
        NAME,
        Column("Type", description=ref("core.v1.Secret", "type")),
        Column("Data", description=ref("core.v1.Secret", "data")),
        AGE,
    ),
    row=_secret_row,
    selectable_fields={"type": lambda obj: obj.get("type") or ""},
)
