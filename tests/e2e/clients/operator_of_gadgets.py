"""A kopf operator on its own kind: the program that `test_kopf` starts, kills and starts again.

Every handler leaves a trace in the status, which is how the test sees that it ran.
"""

from __future__ import annotations

from typing import Any

import kopf
from kubernetes import client, config

GROUP = ("clients.example.com", "v1", "gadgets")


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.persistence.finalizer = "clients.example.com/gadgets"
    settings.watching.server_timeout = 30


@kopf.on.create(*GROUP)
def created(body: kopf.Body, spec: kopf.Spec, name: str, namespace: str, patch: kopf.Patch, **_: Any) -> dict[str, str]:
    child = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}-child"},
        "data": {"size": spec["size"]},
    }
    kopf.adopt(child)
    config.load_kube_config()
    client.CoreV1Api().create_namespaced_config_map(namespace, child)
    kopf.info(body, reason="Made", message="a child")
    patch.status["child"] = child["metadata"]["name"]
    return {"size": spec["size"]}


@kopf.on.update(*GROUP, field="spec.size")
def resized(old: str, new: str, patch: kopf.Patch, **_: Any) -> None:
    patch.status["resized"] = f"{old} to {new}"


@kopf.on.delete(*GROUP)
async def deleted(retry: int, **_: Any) -> None:
    if retry == 0:
        raise kopf.TemporaryError("the finalizer holds it until this has succeeded", delay=0.1)


@kopf.timer(*GROUP, interval=0.5)
def tick(status: kopf.Status, patch: kopf.Patch, **_: Any) -> None:
    patch.status["ticks"] = status.get("ticks", 0) + 1


@kopf.daemon(*GROUP, cancellation_timeout=2)
async def attend(stopped: kopf.DaemonStopped, status: kopf.Status, patch: kopf.Patch, **_: Any) -> None:
    if not status.get("attended"):
        patch.status["attended"] = True
        raise kopf.TemporaryError("what a daemon writes is sent when it ends or is tried again", delay=0.1)
    while not stopped:
        await stopped.wait(10)
