"""ServiceAccount: every pod runs as an account of its namespace and gets a token to prove it.

The token is a projected volume (`kube-api-access-...`) that the kubelet fills and renews; mirrors
the ServiceAccount plugin of kube-apiserver with bound tokens (KEP-1205).
"""

from __future__ import annotations

import asyncio

from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors, names
from orchestrator.api.contents import ContentMap
from orchestrator.api.objects import Object, annotations_of
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes, Reader
from orchestrator.store import Event, EventType, Store

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
TOKEN_SECONDS = 3607
"""An hour and seven seconds: the odd value tells the server that nobody chose it."""
ACCOUNTS = "serviceaccounts"
WAIT_SECONDS_MAX = 1.8
"""Ten looks at intervals of 100 to 200 ms are what kube-apiserver takes; here the account itself ends the wait."""
WAITERS_MAX = 64
VOLUME_PREFIX = "kube-api-access-"


class ServiceAccount(AdmissionPlugin):
    """Runs for pods only."""

    name = "ServiceAccount"
    resources = frozenset(("pods",))

    def __init__(self, reader: Reader, store: Store, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        """namespace → pods that wait for its default account"""
        self._arriving = 0
        self._volume_names: ContentMap[str] = ContentMap()
        """Drawn once for each spec, so that pods of one template stay alike: see docs/decisions/0010."""
        store.observe(ACCOUNTS, self._on_event)

    def handles(self, attributes: Attributes) -> bool:
        return attributes.group_resource == "pods" and not attributes.subresource and attributes.operation == "CREATE"

    async def admit(self, attributes: Attributes) -> None:
        pod = attributes.obj
        spec = pod["spec"]
        if MIRROR_ANNOTATION in annotations_of(pod):
            self._check_mirror_pod(attributes, spec)
            return
        name = spec.get("serviceAccountName") or "default"
        account = await self._find(attributes.namespace, name)
        if account is None:
            raise errors.forbidden(
                "",
                "pods",
                attributes.name,
                f'error looking up service account {attributes.namespace}/{name}: serviceaccount "{name}" not found',
            )
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        if _automounts(spec, account):
            mount_token(spec, self._volume_name(spec))
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(reference) for reference in account["imagePullSecrets"]]

    def _volume_name(self, spec: Object) -> str:
        return self._volume_names.of(spec, lambda: names.generate_name(VOLUME_PREFIX))

    async def _find(self, namespace: str, name: str) -> Object | None:
        """An account; `default` of a namespace that was only just made is waited for, as kube-apiserver does."""
        account = await self._reader.read(ACCOUNTS, name, namespace)
        if account is not None or name != "default" or self._arriving >= WAITERS_MAX:
            return account
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(namespace, [])
        waiting.append(arrived)
        self._arriving += 1
        timer = self._clock.call_later(WAIT_SECONDS_MAX, lambda: _wake(arrived))
        try:
            await arrived
        finally:
            timer.cancel()
            self._arriving -= 1
            waiting.remove(arrived)
            if not waiting:
                self._waiting.pop(namespace, None)
        return await self._reader.read(ACCOUNTS, name, namespace)

    def _on_event(self, event: Event) -> None:
        key = event.record.key
        if key.name == "default" and event.type is EventType.ADDED:
            for arrived in self._waiting.get(key.namespace, ()):
                _wake(arrived)

    def _check_mirror_pod(self, attributes: Attributes, spec: Object) -> None:
        if spec.get("serviceAccountName"):
            raise errors.forbidden("", "pods", attributes.name, "a mirror pod may not reference service accounts")
        if any("secret" in volume for volume in spec.get("volumes") or ()):
            raise errors.forbidden("", "pods", attributes.name, "a mirror pod may not reference secrets")


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _automounts(spec: Object, account: Object) -> bool:
    if spec.get("automountServiceAccountToken") is not None:
        return bool(spec["automountServiceAccountToken"])
    return account.get("automountServiceAccountToken") is not False


def mount_token(spec: Object, name: str) -> None:
    """Give every container that does not mount something there itself the token volume, of this name if it is new."""
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    wanting = [
        container
        for container in containers
        if not any(mount.get("mountPath") == MOUNT_PATH for mount in container.get("volumeMounts") or ())
    ]
    if not wanting:
        return
    volumes = [volume.get("name") or "" for volume in spec.get("volumes") or ()]
    existing = next((name for name in volumes if name.startswith(VOLUME_PREFIX)), "")
    volume_name = existing or name
    for container in wanting:
        container["volumeMounts"] = [
            *(container.get("volumeMounts") or ()),
            {"name": volume_name, "readOnly": True, "mountPath": MOUNT_PATH},
        ]
    if not existing:
        spec["volumes"] = [*(spec.get("volumes") or ()), token_volume(volume_name)]


def token_volume(name: str) -> Object:
    """Token, CA bundle and namespace in one projected volume."""
    return {
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "namespace",
                                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                            }
                        ]
                    }
                },
            ],
        },
    }
