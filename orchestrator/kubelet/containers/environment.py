"""The environment of a container: env, envFrom, valueFrom, $(VAR) expansion, service variables.

Pure functions; ConfigMaps and Secrets come in as mappings. Mirrors the kubelet's
`makeEnvironmentVariables`, pkg/kubelet/envvars and third_party/forked/golang/expansion.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.api.quantity import parse_quantity
from orchestrator.kubelet.containers.env_files import EnvFileError, parse_env_file
from orchestrator.kubelet.csi.plan import CsiVolume
from orchestrator.kubelet.pod import find_container, spec_of, status_of
from orchestrator.kubelet.runtime import Image

_SUBSCRIPT = re.compile(r"(metadata\.(?:labels|annotations))\['(.*)'\]")


class ConfigurationError(Exception):
    """The container cannot be configured (`CreateContainerConfigError`); the message is what users see."""


class EnvironmentSources(Struct, frozen=True):
    """What the environment is made from, beside the pod itself."""

    config_maps: Mapping[str, Object | None] = field(default_factory=dict)
    """By name, in the pod's namespace; None or missing: there is none."""
    secrets: Mapping[str, Object | None] = field(default_factory=dict)
    services: Iterable[Object] = ()
    """Those of the pod's namespace, and `default/kubernetes`."""
    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    node_name: str = ""
    allocatable: Mapping[str, str] = field(default_factory=dict)
    """The node's, for limits that the container does not set."""
    bound: Mapping[str, Object] = field(default_factory=dict)
    """By volume name: what a bound PersistentVolumeClaim stands for, as a volume of its own."""
    csi: Sequence[CsiVolume] = ()
    """Those volumes that drivers provide; `bound` has them, too."""
    images: Mapping[str, Image] = field(default_factory=dict)
    """By volume name: the images of image volumes, present on the node."""
    env_files: Mapping[tuple[str, str], str | None] = field(default_factory=dict)
    """By volume name and path: the texts of environment files; None for one that does not exist."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)`; `$$` is a dollar sign, and what is not defined stays as it is."""
    if "$" not in text:
        return text
    out: list[str] = []
    position = 0
    length = len(text)
    while position < length:
        char = text[position]
        if char != "$" or position + 1 >= length:
            out.append(char)
            position += 1
            continue
        following = text[position + 1]
        if following == "$":
            out.append("$")
            position += 2
        elif following == "(":
            end = text.find(")", position + 2)
            if end < 0:
                out.append("$(")
                position += 2
                continue
            name = text[position + 2 : end]
            out.append(variables.get(name, f"$({name})"))
            position = end + 1
        else:
            out.append(f"${following}")
            position += 2
    return "".join(out)


def references_of(container: Object) -> tuple[set[str], set[str]]:
    """Names of (ConfigMaps, Secrets) that a container's environment reads."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    for source in container.get("envFrom") or ():
        if source.get("configMapRef"):
            config_maps.add(source["configMapRef"].get("name", ""))
        if source.get("secretRef"):
            secrets.add(source["secretRef"].get("name", ""))
    for variable in container.get("env") or ():
        value_from = variable.get("valueFrom") or {}
        if value_from.get("configMapKeyRef"):
            config_maps.add(value_from["configMapKeyRef"].get("name", ""))
        if value_from.get("secretKeyRef"):
            secrets.add(value_from["secretKeyRef"].get("name", ""))
    return config_maps, secrets


def service_variables(services: Iterable[Object], namespace: str, *, enable_links: bool) -> dict[str, str]:
    """`KUBERNETES_SERVICE_HOST` and the rest; without links only those of `default/kubernetes`."""
    chosen: dict[str, Object] = {}
    for service in services:
        ip = spec_of(service).get("clusterIP")
        if not ip or ip == "None":
            continue
        is_master = namespace_of(service) == "default" and name_of(service) == "kubernetes"
        if namespace_of(service) == namespace and (enable_links or is_master):
            chosen[name_of(service)] = service
        elif is_master:
            chosen.setdefault("kubernetes", service)
    variables: dict[str, str] = {}
    for name in sorted(chosen):
        variables.update(_variables_of_service(chosen[name]))
    return variables


def _variables_of_service(service: Object) -> dict[str, str]:
    spec = spec_of(service)
    prefix = name_of(service).upper().replace("-", "_")
    host, ports = spec["clusterIP"], spec.get("ports") or []
    variables = {f"{prefix}_SERVICE_HOST": host}
    if not ports:
        return variables
    variables[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
    for port in ports:
        if port.get("name"):
            variables[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    shown = f"[{host}]" if ":" in host else host
    for index, port in enumerate(ports):
        protocol = port.get("protocol") or "TCP"
        url = f"{protocol.lower()}://{shown}:{port['port']}"
        if index == 0:
            variables[f"{prefix}_PORT"] = url
        port_prefix = f"{prefix}_PORT_{port['port']}_{protocol}"
        variables[port_prefix] = url
        variables[f"{port_prefix}_PROTO"] = protocol.lower()
        variables[f"{port_prefix}_PORT"] = str(port["port"])
        variables[f"{port_prefix}_ADDR"] = host
    return variables


def build_environment(pod: Object, container: Object, sources: EnvironmentSources) -> dict[str, str]:
    """The variables of a container in their order; ConfigurationError when a source is missing."""
    namespace = namespace_of(pod)
    enable_links = spec_of(pod).get("enableServiceLinks")
    services = service_variables(sources.services, namespace, enable_links=enable_links is not False)
    variables: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix") or ""
        for key, value in _all_of(source, sources, namespace).items():
            variables[prefix + key] = value
    for variable in container.get("env") or ():
        name = variable["name"]
        if variable.get("valueFrom"):
            found = _value_from(pod, container, variable["valueFrom"], sources)
            if found is None:
                continue
            variables[name] = found
        else:
            # Service variables can be used in $(...) although they are added last.
            variables[name] = expand(variable.get("value") or "", {**services, **variables})
    for name, value in services.items():
        variables.setdefault(name, value)
    return variables


def expand_command(words: Iterable[str] | None, variables: Mapping[str, str]) -> tuple[str, ...] | None:
    """`command` or `args` with its variables filled in; None when it is not given."""
    return None if words is None else tuple(expand(word, variables) for word in words)


def decode_secret_value(value: str) -> bytes:
    """A value of `Secret.data`."""
    try:
        return base64.b64decode(value)
    except (binascii.Error, ValueError) as error:
        raise ConfigurationError(f"illegal base64 data in a secret: {error}") from error


def _all_of(source: Object, sources: EnvironmentSources, namespace: str) -> dict[str, str]:
    reference = source.get("configMapRef")
    if reference:
        name = reference.get("name", "")
        found = sources.config_maps.get(name)
        if found is None:
            if reference.get("optional"):
                return {}
            raise ConfigurationError(f'configmap "{name}" not found')
        return dict(sorted((found.get("data") or {}).items()))
    reference = source.get("secretRef") or {}
    name = reference.get("name", "")
    found = sources.secrets.get(name)
    if found is None:
        if reference.get("optional"):
            return {}
        raise ConfigurationError(f'secret "{name}" not found')
    data = found.get("data") or {}
    return {key: decode_secret_value(data[key]).decode(errors="replace") for key in sorted(data)}


def _value_from(pod: Object, container: Object, value_from: Object, sources: EnvironmentSources) -> str | None:
    namespace = namespace_of(pod)
    if reference := value_from.get("fieldRef"):
        return field_value(pod, reference["fieldPath"], sources)
    if reference := value_from.get("resourceFieldRef"):
        target = container
        if reference.get("containerName"):
            found_container = find_container(pod, reference["containerName"])
            if found_container is None:
                raise ConfigurationError(f"container {reference['containerName']} not found")
            target = found_container[1]
        return resource_value(target, reference["resource"], reference.get("divisor"), sources.allocatable)
    if reference := value_from.get("configMapKeyRef"):
        name, key = reference.get("name", ""), reference["key"]
        found = sources.config_maps.get(name)
        if found is None:
            if reference.get("optional"):
                return None
            raise ConfigurationError(f'configmap "{name}" not found')
        value = (found.get("data") or {}).get(key)
        if value is None:
            if reference.get("optional"):
                return None
            raise ConfigurationError(f"couldn't find key {key} in ConfigMap {namespace}/{name}")
        return str(value)
    if reference := value_from.get("secretKeyRef"):
        name, key = reference.get("name", ""), reference["key"]
        found = sources.secrets.get(name)
        if found is None:
            if reference.get("optional"):
                return None
            raise ConfigurationError(f'secret "{name}" not found')
        value = (found.get("data") or {}).get(key)
        if value is None:
            if reference.get("optional"):
                return None
            raise ConfigurationError(f"couldn't find key {key} in Secret {namespace}/{name}")
        return decode_secret_value(value).decode(errors="replace")
    if reference := value_from.get("fileKeyRef"):
        return _file_value(reference, sources)
    return ""


def _file_value(reference: Object, sources: EnvironmentSources) -> str | None:
    path, key = reference["path"], reference["key"]
    where = (reference["volumeName"], path)
    if where not in sources.env_files:
        return ""  # a node without files
    text = sources.env_files[where]
    try:
        found = None if text is None else parse_env_file(text).get(key)
    except EnvFileError as error:
        raise ConfigurationError(f'environment variable file "{path}": {error}') from error
    found = found or None  # an empty value counts as none
    if found is None and not reference.get("optional"):
        missing = "file does not exist" if text is None else f"couldn't find key {key}"
        raise ConfigurationError(f'environment variable file "{path}" of volume "{reference["volumeName"]}": {missing}')
    return found


def env_file_references(container: Object) -> set[tuple[str, str]]:
    """(volume name, path) of the environment files that a container reads."""
    references = ((v.get("valueFrom") or {}).get("fileKeyRef") for v in container.get("env") or ())
    return {(r["volumeName"], r["path"]) for r in references if r}


def field_value(pod: Object, path: str, sources: EnvironmentSources) -> str:
    """What the downward API gives for a field path; ConfigurationError for one that it does not know."""
    metadata = pod["metadata"]
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        section = "labels" if subscript[1].endswith("labels") else "annotations"
        return str((metadata.get(section) or {}).get(subscript[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        from orchestrator.api.fields import quote

        values = metadata.get(path.partition(".")[2]) or {}
        return "\n".join(f"{key}={quote(values[key])}" for key in sorted(values))
    simple = {
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", ""),
        "metadata.uid": metadata.get("uid", ""),
        "spec.nodeName": spec_of(pod).get("nodeName") or sources.node_name,
        "spec.serviceAccountName": spec_of(pod).get("serviceAccountName", ""),
        "status.podIP": sources.pod_ips[0] if sources.pod_ips else status_of(pod).get("podIP", ""),
        "status.podIPs": ",".join(sources.pod_ips),
        "status.hostIP": sources.host_ips[0] if sources.host_ips else "",
        "status.hostIPs": ",".join(sources.host_ips),
    }
    if path not in simple:
        raise ConfigurationError(f"unsupported fieldPath: {path}")
    return str(simple[path])


def resource_value(
    container: Object, resource: str, divisor: str | int | None, allocatable: Mapping[str, str]
) -> str:  # fmt: skip
    """`limits.cpu` and the like, divided and rounded up; the node's allocatable when there is no limit."""
    section, _, name = resource.partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(section) or {}).get(name)
    if amount is None and section == "requests":
        amount = (resources.get("limits") or {}).get(name)
    if amount is None and section == "limits":
        amount = allocatable.get(name)
    if amount is None:
        return "0"
    quantity = parse_quantity(amount)
    unit = parse_quantity(divisor) if divisor not in (None, "", "0", 0) else parse_quantity("1")
    return str(-(-quantity.nanos // unit.nanos))


def environment_pairs(variables: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """As the runtime takes it."""
    return tuple(variables.items())
