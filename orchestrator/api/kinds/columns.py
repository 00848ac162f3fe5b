"""What the printed columns of all kinds share: names, ages, lists of containers, selectors.

Owns the cells as kubectl shows them and where the description of a column comes from. Never
decides which columns a kind has. Mirrors k8s.io/kubernetes/pkg/printers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from orchestrator.api.durations import human_duration
from orchestrator.api.kinds.descriptor import Column
from orchestrator.api.objects import Object, condition_of, name_of

NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"

_REFERENCE = "$ref:"


def ref(definition: str, field: str) -> str:
    """The description of a field of an OpenAPI definition, to be looked up when it is printed.

    `definition` may leave out `io.k8s.api.`.
    """
    if not definition.startswith("io.k8s."):
        definition = "io.k8s.api." + definition
    return f"{_REFERENCE}{definition}#{field}"


_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
NAME = Column("Name", format="name", description=ref(_META, "name"))
AGE = Column("Age", description=ref(_META, "creationTimestamp"))
CREATED_AT = Column("Created At", "date", description=ref(_META, "creationTimestamp"))
CONTAINERS = Column("Containers", description="Names of each container in the template.", priority=1)
IMAGES = Column("Images", description="Images referenced by each container in the template.", priority=1)


def describe(column: Column, definitions: Mapping[str, Any]) -> str:
    """The text of a column's description; `definitions` are the published OpenAPI definitions."""
    text = column.description
    if not text.startswith(_REFERENCE):
        return text
    definition, _, field = text.removeprefix(_REFERENCE).partition("#")
    properties = definitions.get(definition, {}).get("properties", {})
    return str(properties.get(field, {}).get("description", ""))


# --- time -------------------------------------------------------------------------------------


@lru_cache(maxsize=65536)
def parse_time(text: str) -> datetime | None:
    """The moment that an RFC 3339 text names, or None; a text without zone is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def translate_timestamp_since(text: str | None, now: datetime) -> str:
    """How long ago a timestamp was; `<unknown>` without one."""
    moment = parse_time(text) if text else None
    if moment is None:
        return UNKNOWN
    return human_duration((now - moment).total_seconds())


def age(obj: Object, now: datetime) -> str:
    """The cell of the Age column."""
    return translate_timestamp_since(obj.get("metadata", {}).get("creationTimestamp"), now)


def name_and_age(obj: Object, now: datetime) -> list[Any]:
    """The row of kinds without columns of their own."""
    return [name_of(obj), age(obj, now)]


def name_and_created_at(obj: Object, now: datetime) -> list[Any]:
    """The row of kinds whose second column is the creation time itself."""
    return [name_of(obj), obj.get("metadata", {}).get("creationTimestamp") or UNKNOWN]


# --- lists, labels, selectors -----------------------------------------------------------------


def dig(obj: Mapping[str, Any], *path: str) -> Any:
    """The value at a path of keys, or None as soon as a part is missing."""
    value: Any = obj
    for part in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def condition_state(obj: Object, kind: str) -> str:
    """`True`, `False` or `Unknown` as a condition of the status says, or an empty string."""
    condition = condition_of(obj, kind)
    return str(condition.get("status") or "") if condition else ""


def join(values: Iterable[str], empty: str = "") -> str:
    """The values with commas between, or `empty`."""
    return ",".join(values) or empty


def format_labels(labels: Mapping[str, str] | None) -> str:
    """`a=b,c=d`, sorted, or `<none>`."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def format_label_selector(selector: Mapping[str, Any] | None) -> str:
    """A LabelSelector in the form that query strings use, or `<none>`."""
    from orchestrator.api.errors import BadRequest
    from orchestrator.api.selectors import from_label_selector

    if not selector:
        return NONE
    try:
        return str(from_label_selector(selector)) or NONE
    except BadRequest:
        return "<error>"


def container_cells(pod_spec: Mapping[str, Any] | None) -> list[str]:
    """The cells Containers and Images of a pod template."""
    containers = (pod_spec or {}).get("containers") or ()
    return [
        ",".join(container.get("name") or "" for container in containers),
        ",".join(container.get("image") or "" for container in containers),
    ]


def count(value: Any) -> int:
    """The length of a list or map that may be missing."""
    return len(value) if value else 0
