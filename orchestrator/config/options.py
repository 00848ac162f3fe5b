"""The options of one cluster: names, types, defaults, and where each may be set.

Command line beats environment (`ORCHESTRATOR_*`) beats the config file beats the defaults. Whatever
is wrong stops the start with one line that names the option and where it came from.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from orchestrator.config.addresses import parse_pool
from orchestrator.config.durations import parse_duration
from orchestrator.config.engines import EngineAddress, engine_address

ENVIRONMENT_PREFIX = "ORCHESTRATOR_"
NODES_MAX = 5_000
CONFIG_BYTES_MAX = 1 << 20


class ConfigError(Exception):
    """An option is wrong; the message is one line for the user."""


def default_data_dir() -> Path:
    """Where a cluster lives when nobody says otherwise."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return Path(base) / "orchestrator"


class Config(Struct, frozen=True):
    """Every option of a cluster; field names in the file are the camelCase keys in `KEYS`."""

    data_dir: Path = msgspec.field(default_factory=default_data_dir)
    listen: str = "127.0.0.1:6443"
    """HOST:PORT of the API server; port 0 picks a free one."""
    kubeconfig: str = ""
    """Where the administrator's kubeconfig goes; empty: `kubeconfig` in the data dir."""
    nodes: int = 1
    runtime: str = "docker"
    """`docker` or `hollow`."""
    network: str = "auto"
    """`kernel` (bridge and nftables; needs root), `docker` (a network of Docker's), `auto`: kernel where possible."""
    engine: str = ""
    """URL of the Docker Engine; empty: DOCKER_HOST, else the machine's socket."""
    node_engines: tuple[str, ...] = ()
    """Nodes with an Engine of their own: `node-2=unix:///run/other.sock`."""
    engine_access: dict[str, Any] = msgspec.field(default_factory=dict)
    """By the address of an Engine: `{ca, cert, key}` as paths, or `{insecure: true}`."""
    ephemeral: bool = False
    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/16"
    node_cidr: str = "172.30.0.0/24"
    ingress_addresses: tuple[str, ...] = ("nodes",)
    """Where Ingresses are served, on ports 80 and 443: `nodes`, and addresses of the machine; empty: nowhere."""
    load_balancer_addresses: tuple[str, ...] = ()
    """Addresses, ranges and networks for Services of type LoadBalancer; empty: somebody else gives them theirs."""
    cluster_domain: str = "cluster.local"
    eviction_hard: tuple[str, ...] = ("memory.available<100Mi", "nodefs.available<1Gi")
    """Thresholds of node-pressure eviction."""
    eviction_soft: tuple[str, ...] = ()
    eviction_soft_grace_period: tuple[str, ...] = ()
    """Thresholds that may be crossed for a while: `memory.available<300Mi`, and `memory.available=1m30s`."""
    eviction_max_pod_grace_period: int = 0
    """Seconds that a pod has at most to end when a soft threshold asks for it."""
    shutdown_grace_period: str = "0s"
    shutdown_grace_period_critical_pods: str = "0s"
    """How long pods may take to end when the orchestrator stops, and how much of that is for critical ones.

    0s: they go on without it.
    """
    container_log_max_size: str = "10Mi"
    container_log_max_files: int = 5
    """When a container's log is rotated, and how many files of it there are."""
    image_gc_high_threshold_percent: int = 85
    image_gc_low_threshold_percent: int = 80
    """How full the disk of images may become before unused ones go, and how far they do."""
    system_reserved: tuple[str, ...] = ()
    """What allocatable lacks of each node's capacity: `cpu=500m`, `memory=1Gi`."""
    storage_class: str = "standard"
    """Name of the default storage class; empty: there is none, and nobody makes volumes."""
    static_pod_path: str = ""
    """Folder with a subfolder of manifests for each node; empty: no static pods."""
    system_pods: bool = True
    """Whether `kube-system` shows the components of this process as pods."""
    controllers: tuple[str, ...] = ("*",)
    scheduler: dict[str, Any] = msgspec.field(default_factory=dict)
    """A KubeSchedulerConfiguration; the scheduler checks what is in it."""
    log_level: str = "info"
    log_format: str = "auto"

    @property
    def shutdown_seconds(self) -> tuple[float, float]:
        """shutdownGracePeriod and the part of it that is for critical pods; ConfigError."""
        return (
            _seconds(self.shutdown_grace_period, "shutdownGracePeriod"),
            _seconds(self.shutdown_grace_period_critical_pods, "shutdownGracePeriodCriticalPods"),
        )

    @property
    def kubeconfig_path(self) -> Path:
        """Where the administrator's kubeconfig is written."""
        return Path(self.kubeconfig).expanduser() if self.kubeconfig else self.data_dir / "kubeconfig"

    @property
    def engine_urls(self) -> dict[str, str]:
        """The Engines of the nodes that name one, by node."""
        return dict(text.split("=", 1) for text in self.node_engines)

    @property
    def engine_addresses(self) -> list[EngineAddress | None]:
        """Every Engine once: first the default one (None: as Docker's own variables say), then those of nodes."""
        own = [self.engine_at(url) for url in sorted(set(self.engine_urls.values()))]
        default = self.engine_at(self.engine) if self.engine else None
        return [default, *(address for address in own if address != default)]

    def engine_at(self, url: str) -> EngineAddress:
        """An Engine with what it takes to reach it; ConfigError."""
        try:
            return engine_address(url, self.engine_access.get(url))
        except ValueError as error:
            raise ConfigError(f"the Engine {url}: {error}") from None

    def shown(self) -> dict[str, str]:
        """Every option by its name in the file, with the value in effect as a text."""
        return {key: _shown(getattr(self, name)) for key, name in KEYS.items()}

    @property
    def listen_address(self) -> tuple[str, int]:
        """`listen` as (host, port)."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(str, value))}]"
    if isinstance(value, dict):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


KEYS = {
    "dataDir": "data_dir",
    "listen": "listen",
    "kubeconfig": "kubeconfig",
    "nodes": "nodes",
    "runtime": "runtime",
    "network": "network",
    "engine": "engine",
    "nodeEngines": "node_engines",
    "engineAccess": "engine_access",
    "ephemeral": "ephemeral",
    "podCIDR": "pod_cidr",
    "serviceCIDR": "service_cidr",
    "nodeCIDR": "node_cidr",
    "ingressAddresses": "ingress_addresses",
    "loadBalancerAddresses": "load_balancer_addresses",
    "clusterDomain": "cluster_domain",
    "evictionHard": "eviction_hard",
    "evictionSoft": "eviction_soft",
    "evictionSoftGracePeriod": "eviction_soft_grace_period",
    "evictionMaxPodGracePeriod": "eviction_max_pod_grace_period",
    "shutdownGracePeriod": "shutdown_grace_period",
    "shutdownGracePeriodCriticalPods": "shutdown_grace_period_critical_pods",
    "containerLogMaxSize": "container_log_max_size",
    "containerLogMaxFiles": "container_log_max_files",
    "imageGCHighThresholdPercent": "image_gc_high_threshold_percent",
    "imageGCLowThresholdPercent": "image_gc_low_threshold_percent",
    "systemReserved": "system_reserved",
    "storageClass": "storage_class",
    "staticPodPath": "static_pod_path",
    "systemPods": "system_pods",
    "controllers": "controllers",
    "scheduler": "scheduler",
    "logLevel": "log_level",
    "logFormat": "log_format",
}
"""Key in the file → field of `Config`."""

_CHOICES = {
    "runtime": ("docker", "hollow"),
    "network": ("auto", "kernel", "docker"),
    "log_level": ("debug", "info", "warning", "error", "critical"),
    "log_format": ("auto", "console", "json"),
}
_TYPES: dict[str, type] = {"data_dir": Path, "scheduler": dict, "engine_access": dict}
"""Of the fields whose defaults are made."""
_CIDR_FIELDS = ("pod_cidr", "service_cidr", "node_cidr")
_TYPE_NAMES = {
    bool: "true or false",
    int: "a number",
    str: "a text",
    tuple: "a list of texts",
    dict: "a map",
    Path: "a path",
}


def load_config(file: Path | None, *, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Config:
    """Merge file, environment and command line (`overrides`: field → value); raises ConfigError."""
    values: dict[str, Any] = {}
    if file is not None:
        values.update(_from_file(file))
    values.update(_from_environment(environ))
    for field, value in (overrides or {}).items():
        values[field] = _checked(field, value, "the command line")
    config = Config(**values)
    _check_together(config)
    return config


def _from_file(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            text = stream.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the config file {file}: {error.strerror}") from error
    if len(text) > CONFIG_BYTES_MAX:
        raise ConfigError(f"the config file {file} is larger than {CONFIG_BYTES_MAX} bytes")
    content = _parsed_yaml(text, str(file))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: a config file is a map of options")
    values = {}
    for key, value in content.items():
        field = KEYS.get(key)
        if field is None:
            raise ConfigError(f"{file}: unknown option {key!r}{_did_you_mean(str(key), tuple(KEYS))}")
        values[field] = _checked(field, value, str(file), key=key)
    return values


def _parsed_yaml(text: bytes, source: str) -> Any:
    import yaml

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{source}{where}: not YAML: {getattr(error, 'problem', None) or error}") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    names = {ENVIRONMENT_PREFIX + field.upper(): field for field in KEYS.values()}
    values: dict[str, Any] = {}
    for name, text in environ.items():
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        field = names.get(name)
        if field is None:
            if name in _RESERVED_VARIABLES:
                continue
            raise ConfigError(f"unknown environment variable {name}{_did_you_mean(name, tuple(names))}")
        values[field] = _checked(field, _parsed(field, text, name), f"the environment variable {name}", key=name)
    return values


_RESERVED_VARIABLES = frozenset(("ORCHESTRATOR_GOLDEN_DIR", "ORCHESTRATOR_KUBECTLS"))
"""Variables of the test suite."""


def _parsed(field: str, text: str, name: str) -> Any:
    kind = _type_of(field)
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise ConfigError(f"{name}: {text!r} is not a number") from None
    if kind is bool:
        try:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
        except KeyError:
            raise ConfigError(f"{name}: {text!r} is neither true nor false") from None
    if kind is dict:
        return _parsed_yaml(text.encode(), name) or {}
    if kind is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _type_of(field: str) -> type:
    if field in _TYPES:
        return _TYPES[field]
    return type(getattr(Config(), field))


def _checked(field: str, value: Any, source: str, *, key: str = "") -> Any:
    """The value in its final type; ConfigError when type or value is wrong."""
    label = f"{source}: {key or field}" if source != key else source
    if source.startswith("the environment"):
        label = key
    kind: type = _type_of(field)
    if kind is Path:
        if not isinstance(value, str | Path) or not str(value):
            raise ConfigError(f"{label} must be {_TYPE_NAMES[Path]}, not {value!r}")
        return Path(value).expanduser().absolute()
    if field == "node_engines" and any("=" not in str(part) for part in value):
        raise ConfigError(f"{label} must be a list of texts like node-2=unix:///run/other.sock, not {value!r}")
    if kind is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(v, str) for v in value):
            raise ConfigError(f"{label} must be {_TYPE_NAMES[tuple]}, not {value!r}")
        if field == "load_balancer_addresses":
            _check_pool(value, label)
        if field == "ingress_addresses":
            _check_pool([one for one in value if one != "nodes"], label)
        return tuple(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{label} must be {_TYPE_NAMES[kind]}, not {value!r}")
    choices = _CHOICES.get(field)
    if choices and value not in choices:
        raise ConfigError(f"{label} must be one of {', '.join(choices)}, not {value!r}")
    if isinstance(value, int) and field == "nodes" and not 0 <= value <= NODES_MAX:
        raise ConfigError(f"{label} must be between 0 and {NODES_MAX}, not {value}")
    if field == "listen":
        _check_listen(str(value), label)
    if field in _CIDR_FIELDS:
        _check_cidr(str(value), label)
    return value


def _check_listen(value: str, label: str) -> None:
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{label} must be HOST:PORT, not {value!r}")


def _check_cidr(value: str, label: str) -> None:
    try:
        ipaddress.IPv4Network(value)
    except ValueError as error:
        raise ConfigError(f"{label}: {error}") from None


def _check_pool(value: Sequence[str], label: str) -> None:
    try:
        parse_pool(value)
    except ValueError as error:
        raise ConfigError(f"{label}: {error}") from None


def _seconds(text: str, label: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{label}: {error}") from None
    if seconds < 0:
        raise ConfigError(f"{label} must not be negative")
    return seconds


def _check_engines(config: Config) -> None:
    named = {config.engine, *config.engine_urls.values()} - {""}
    for url, access in config.engine_access.items():
        if url not in named:
            raise ConfigError(
                f"engineAccess: {url!r} is the address of no Engine here{_did_you_mean(str(url), [*named])}"
            )
        if not isinstance(access, dict):
            raise ConfigError(f"engineAccess: {url} must be a map with ca, cert and key, not {access!r}")
    _ = config.engine_addresses  # looks at each of them


def _check_together(config: Config) -> None:
    _check_engines(config)
    if config.container_log_max_files < 2:
        raise ConfigError(f"containerLogMaxFiles must be at least 2, not {config.container_log_max_files}")
    if config.shutdown_seconds[1] > config.shutdown_seconds[0]:
        raise ConfigError("shutdownGracePeriodCriticalPods must not be longer than shutdownGracePeriod")
    if config.eviction_max_pod_grace_period < 0:
        raise ConfigError("evictionMaxPodGracePeriod must not be negative")
    low, high = config.image_gc_low_threshold_percent, config.image_gc_high_threshold_percent
    if not 0 <= low < high <= 100:
        raise ConfigError(
            f"imageGCLowThresholdPercent {low} must be below imageGCHighThresholdPercent {high}, both within 0 and 100"
        )
    named = [
        (key, ipaddress.IPv4Network(getattr(config, field))) for key, field in KEYS.items() if field in _CIDR_FIELDS
    ]
    for index, (key, network) in enumerate(named):
        for other_key, other in named[index + 1 :]:
            if network.overlaps(other):
                raise ConfigError(f"{key} {network} overlaps with {other_key} {other}")


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"
