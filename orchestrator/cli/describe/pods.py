"""Descriptions of pods and pod templates, with their containers and volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orchestrator.cli.connection import Object
from orchestrator.cli.describe.text import (
    NONE,
    Related,
    bool_text,
    indented,
    list_lines,
    map_lines,
    metadata_lines,
    time_text,
)


def pod_lines(pod: Object, _related: Related) -> list[str]:
    """Everything about a Pod except its events."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    node = spec.get("nodeName")
    lines = [f"Name:\t{metadata['name']}", f"Namespace:\t{metadata['namespace']}"]
    lines.append(f"Priority:\t{spec.get('priority', 0)}")
    if spec.get("priorityClassName"):
        lines.append(f"Priority Class Name:\t{spec['priorityClassName']}")
    if spec.get("runtimeClassName"):
        lines.append(f"Runtime Class Name:\t{spec['runtimeClassName']}")
    lines.append(f"Service Account:\t{spec.get('serviceAccountName') or NONE}")
    lines.append(f"Node:\t{node}/{status.get('hostIP', '')}" if node else f"Node:\t{NONE}")
    if status.get("startTime"):
        lines.append(f"Start Time:\t{time_text(status['startTime'])}")
    lines += metadata_lines(pod)
    if metadata.get("deletionTimestamp"):
        lines.append(f"Status:\tTerminating (since {time_text(metadata['deletionTimestamp'])})")
        lines.append(f"Termination Grace Period:\t{metadata.get('deletionGracePeriodSeconds', 0)}s")
    else:
        lines.append(f"Status:\t{status.get('phase', '')}")
    for field in ("reason", "message"):
        if status.get(field):
            lines.append(f"{field.capitalize()}:\t{status[field]}")
    lines.append(f"IP:\t{status.get('podIP', '')}")
    addresses = status.get("podIPs") or []
    lines += ["IPs:", *(f"  IP:\t{each['ip']}" for each in addresses)] if addresses else [f"IPs:\t{NONE}"]
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            lines.append(f"Controlled By:\t{owner['kind']}/{owner['name']}")
    if status.get("nominatedNodeName"):
        lines.append(f"NominatedNodeName:\t{status['nominatedNodeName']}")
    for title, field, statuses in (
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
        ("Ephemeral Containers", "ephemeralContainers", "ephemeralContainerStatuses"),
    ):
        if spec.get(field):
            lines += [f"{title}:", *container_lines(spec[field], status.get(statuses) or ())]
    if status.get("conditions"):
        lines += ["Conditions:", "  Type\tStatus"]
        lines += [f"  {each['type']}\t{each['status']}" for each in status["conditions"]]
    lines += volume_lines(spec.get("volumes") or ())
    lines.append(f"QoS Class:\t{status.get('qosClass', '')}")
    lines += map_lines("Node-Selectors", spec.get("nodeSelector"))
    lines += list_lines("Tolerations", [toleration_text(each) for each in spec.get("tolerations") or ()])
    return lines


def container_lines(containers: Sequence[Object], statuses: Sequence[Object]) -> list[str]:
    """One block for each container; without statuses for a template."""
    by_name = {status["name"]: status for status in statuses}
    lines: list[str] = []
    for container in containers:
        lines.append(f"  {container['name']}:")
        lines += indented(_container(container, by_name.get(container["name"])), 2)
    return lines


def _container(container: Object, status: Object | None) -> list[str]:
    lines = []
    if status is not None:
        lines.append(f"Container ID:\t{status.get('containerID', '')}")
    lines.append(f"Image:\t{container.get('image', '')}")
    if status is not None:
        lines.append(f"Image ID:\t{status.get('imageID', '')}")
    ports = container.get("ports") or ()
    word = "Ports" if len(ports) > 1 else "Port"
    named = [f"{port['containerPort']}/{port.get('protocol', 'TCP')}" for port in ports]
    lines.append(f"{word}:\t{', '.join(named) or NONE}")
    hosted = [f"{port.get('hostPort', 0)}/{port.get('protocol', 'TCP')}" for port in ports]
    lines.append(f"Host {word}:\t{', '.join(hosted) or NONE}")
    for title in ("Command", "Args"):
        if container.get(title.lower()):
            lines.append(f"{title}:")
            lines += [f"  {part}" for argument in container[title.lower()] for part in argument.split("\n")]
    if status is not None:
        lines += _state("State", status.get("state"))
        if status.get("lastState"):
            lines += _state("Last State", status["lastState"])
        lines.append(f"Ready:\t{bool_text(status.get('ready'))}")
        lines.append(f"Restart Count:\t{status.get('restartCount', 0)}")
    resources = container.get("resources") or {}
    for title in ("Limits", "Requests"):
        if resources.get(title.lower()):
            lines.append(f"{title}:")
            lines += [f"  {name}:\t{value}" for name, value in sorted(resources[title.lower()].items())]
    for title in ("Liveness", "Readiness", "Startup"):
        if probe := container.get(f"{title.lower()}Probe"):
            lines.append(f"{title}:\t{probe_text(probe)}")
    for source in container.get("envFrom") or ():
        lines += _environment_source(source)
    environment = [line for variable in container.get("env") or () for line in _variable(variable)]
    lines += ["Environment:", *environment] if environment else [f"Environment:\t{NONE}"]
    mounts = sorted(container.get("volumeMounts") or (), key=lambda mount: str(mount["mountPath"]))
    lines += ["Mounts:", *(f"  {_mount(mount)}" for mount in mounts)] if mounts else [f"Mounts:\t{NONE}"]
    return lines


def _state(title: str, state: Object | None) -> list[str]:
    if not state:
        return [f"{title}:\tWaiting"]
    if "running" in state:
        return [f"{title}:\tRunning", f"  Started:\t{time_text(state['running'].get('startedAt'))}"]
    if "waiting" in state:
        waiting = state["waiting"]
        return [f"{title}:\tWaiting", *([f"  Reason:\t{waiting['reason']}"] if waiting.get("reason") else [])]
    ended = state["terminated"]
    lines = [f"{title}:\tTerminated"]
    lines += [f"  {field.capitalize()}:\t{ended[field]}" for field in ("reason", "message") if ended.get(field)]
    lines.append(f"  Exit Code:\t{ended.get('exitCode', 0)}")
    if ended.get("signal"):
        lines.append(f"  Signal:\t{ended['signal']}")
    lines.append(f"  Started:\t{time_text(ended.get('startedAt'))}")
    lines.append(f"  Finished:\t{time_text(ended.get('finishedAt'))}")
    return lines


def probe_text(probe: Object) -> str:
    """`http-get http://:8080/ delay=0s timeout=1s period=10s #success=1 #failure=3`."""
    if "exec" in probe:
        what = f"exec [{' '.join(probe['exec'].get('command') or ())}]"
    elif "httpGet" in probe:
        get = probe["httpGet"]
        path = str(get.get("path", "")).removeprefix("/")
        what = f"http-get {get.get('scheme', 'HTTP').lower()}://{get.get('host', '')}:{get['port']}/{path}"
    elif "tcpSocket" in probe:
        what = f"tcp-socket {probe['tcpSocket'].get('host', '')}:{probe['tcpSocket']['port']}"
    else:
        grpc = probe.get("grpc") or {}
        what = f"grpc <pod>:{grpc.get('port', '')} {grpc.get('service') or ''}".rstrip()
    return (
        f"{what} delay={probe.get('initialDelaySeconds', 0)}s timeout={probe.get('timeoutSeconds', 1)}s "
        f"period={probe.get('periodSeconds', 10)}s #success={probe.get('successThreshold', 1)} "
        f"#failure={probe.get('failureThreshold', 3)}"
    )


def _variable(variable: Object) -> list[str]:
    name, source = variable["name"], variable.get("valueFrom") or {}
    if "fieldRef" in source:
        field = source["fieldRef"]
        return [f"  {name}:\t ({field.get('apiVersion', 'v1')}:{field['fieldPath']})"]
    if "resourceFieldRef" in source:
        field = source["resourceFieldRef"]
        return [f"  {name}:\t{field.get('containerName') or ''} ({field['resource']})"]
    for kind, word in (("secretKeyRef", "in secret"), ("configMapKeyRef", "of config map")):
        if kind in source:
            key = source[kind]
            optional = "true" if key.get("optional") else "false"
            return [f"  {name}:\t<set to the key '{key['key']}' {word} '{key.get('name', '')}'>  Optional: {optional}"]
    first, *rest = str(variable.get("value", "")).split("\n")
    return [f"  {name}:\t{first}", *(f"  \t{line}" for line in rest)]


def _environment_source(source: Object) -> list[str]:
    kind, word = ("secretRef", "Secret") if "secretRef" in source else ("configMapRef", "ConfigMap")
    reference = source.get(kind) or {}
    prefix = f" with prefix '{source['prefix']}'" if source.get("prefix") else ""
    optional = "true" if reference.get("optional") else "false"
    return ["Environment Variables from:", f"  {reference.get('name', '')}\t{word}{prefix}\tOptional: {optional}"]


def _mount(mount: Object) -> str:
    flags = ["ro" if mount.get("readOnly") else "rw"]
    if mount.get("subPath"):
        flags.append(f'path="{mount["subPath"]}"')
    return f"{mount['mountPath']} from {mount['name']} ({','.join(flags)})"


_VOLUME_TYPES: Final = {
    "emptyDir": "EmptyDir (a temporary directory that shares a pod's lifetime)",
    "hostPath": "HostPath (bare host directory volume)",
    "configMap": "ConfigMap (a volume populated by a ConfigMap)",
    "secret": "Secret (a volume populated by a Secret)",
    "persistentVolumeClaim": "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
    "projected": "Projected (a volume that contains injected data from multiple sources)",
    "downwardAPI": "DownwardAPI (a volume populated by information about the pod)",
}


def volume_lines(volumes: Sequence[Object]) -> list[str]:
    """The volumes of a pod or a template."""
    if not volumes:
        return [f"Volumes:\t{NONE}"]
    lines = ["Volumes:"]
    for volume in volumes:
        kind = next((key for key in volume if key != "name"), "")
        source = volume.get(kind) or {}
        details = [f"Type:\t{_VOLUME_TYPES.get(kind, kind)}"]
        if kind == "emptyDir":
            details += [f"Medium:\t{source.get('medium', '')}", f"SizeLimit:\t{source.get('sizeLimit') or '<unset>'}"]
        elif kind == "hostPath":
            details += [f"Path:\t{source.get('path', '')}", f"HostPathType:\t{source.get('type') or ''}"]
        elif kind == "configMap":
            details += [f"Name:\t{source.get('name', '')}", f"Optional:\t{str(bool(source.get('optional'))).lower()}"]
        elif kind == "secret":
            name = source.get("secretName", "")
            details += [f"SecretName:\t{name}", f"Optional:\t{str(bool(source.get('optional'))).lower()}"]
        elif kind == "persistentVolumeClaim":
            details.append(f"ClaimName:\t{source.get('claimName', '')}")
            details.append(f"ReadOnly:\t{str(bool(source.get('readOnly'))).lower()}")
        elif kind == "projected":
            details += [line for each in source.get("sources") or () for line in _projection(each)]
        elif kind == "downwardAPI":
            details.append("Items:")
            details += [_downward_item(item) for item in source.get("items") or ()]
        lines += [f"  {volume['name']}:", *indented(details, 2)]
    return lines


def _projection(source: Object) -> list[str]:
    if "serviceAccountToken" in source:
        token = source["serviceAccountToken"]
        return [f"TokenExpirationSeconds:\t{token.get('expirationSeconds', 3600)}"]
    for kind, title in (("configMap", "ConfigMapName"), ("secret", "SecretName")):
        if kind in source:
            optional = str(bool(source[kind].get("optional"))).lower()
            return [f"{title}:\t{source[kind].get('name', '')}", f"Optional:\t{optional}"]
    return ["DownwardAPI:\ttrue"]


def _downward_item(item: Object) -> str:
    field = item.get("fieldRef") or {}
    resource = item.get("resourceFieldRef") or {}
    return f"  {field.get('fieldPath') or resource.get('resource', '')} -> {item.get('path', '')}"


def toleration_text(toleration: Object) -> str:
    """`key=value:effect op=Exists for 300s`."""
    key, value, effect = toleration.get("key", ""), toleration.get("value", ""), toleration.get("effect", "")
    text = key + (f"={value}" if value else "") + (f":{effect}" if effect else "")
    operator = toleration.get("operator", "")
    if operator == "Exists":
        text = f"{text} op=Exists" if text else "op=Exists"
    seconds = toleration.get("tolerationSeconds")
    return text if seconds is None else f"{text} for {seconds}s"


def template_lines(template: Object) -> list[str]:
    """`Pod Template:` and what is in it."""
    metadata, spec = template.get("metadata") or {}, template["spec"]
    lines = map_lines("Labels", metadata.get("labels"))
    if metadata.get("annotations"):
        lines += map_lines("Annotations", metadata["annotations"], separator=": ")
    if spec.get("serviceAccountName"):
        lines.append(f"Service Account:\t{spec['serviceAccountName']}")
    for title, field in (("Init Containers", "initContainers"), ("Containers", "containers")):
        if spec.get(field):
            # kubectl indents less inside a template.
            lines += [f"{title}:", *map(_less_indented, container_lines(spec[field], ()))]
    lines += [line[1:] if line.startswith("  ") else line for line in volume_lines(spec.get("volumes") or ())]
    if spec.get("priorityClassName"):
        lines.append(f"Priority Class Name:\t{spec['priorityClassName']}")
    lines += map_lines("Node-Selectors", spec.get("nodeSelector"))
    lines += list_lines("Tolerations", [toleration_text(each) for each in spec.get("tolerations") or ()])
    return ["Pod Template:", *indented(lines, 1)]


def _less_indented(line: str) -> str:
    return line[2:] if line.startswith("    ") else line[1:]


def pod_template_text(template: Object) -> str:
    """A pod template alone, for `rollout history --revision`."""
    return "\n".join(template_lines(template)) + "\n\n"
