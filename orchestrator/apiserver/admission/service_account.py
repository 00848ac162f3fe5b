"""ServiceAccount: every pod runs as an account of its namespace and gets a token to prove it.

The token is a projected volume (`kube-api-access-...`) that the kubelet fills and renews; mirrors
the ServiceAccount plugin of kube-apiserver with bound tokens (KEP-1205).
"""

from __future__ import annotations

from orchestrator.api import errors, names
from orchestrator.api.objects import Object, annotations_of
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes, Reader

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
TOKEN_SECONDS = 3607
"""An hour and seven seconds: the odd value tells the server that nobody chose it."""
VOLUME_PREFIX = "kube-api-access-"


class ServiceAccount(AdmissionPlugin):
    """Runs for pods only."""

    name = "ServiceAccount"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, attributes: Attributes) -> bool:
        return attributes.group_resource == "pods" and not attributes.subresource and attributes.operation == "CREATE"

    async def admit(self, attributes: Attributes) -> None:
        pod = attributes.obj
        spec = pod["spec"]
        if MIRROR_ANNOTATION in annotations_of(pod):
            self._check_mirror_pod(attributes, spec)
            return
        name = spec.get("serviceAccountName") or "default"
        account = await self._reader.read("serviceaccounts", name, attributes.namespace)
        if account is None:
            raise errors.forbidden(
                "",
                "pods",
                attributes.name,
                f'error looking up service account {attributes.namespace}/{name}: serviceaccount "{name}" not found',
            )
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        if _automounts(spec, account):
            mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(reference) for reference in account["imagePullSecrets"]]

    def _check_mirror_pod(self, attributes: Attributes, spec: Object) -> None:
        if spec.get("serviceAccountName"):
            raise errors.forbidden("", "pods", attributes.name, "a mirror pod may not reference service accounts")
        if any("secret" in volume for volume in spec.get("volumes") or ()):
            raise errors.forbidden("", "pods", attributes.name, "a mirror pod may not reference secrets")


def _automounts(spec: Object, account: Object) -> bool:
    if spec.get("automountServiceAccountToken") is not None:
        return bool(spec["automountServiceAccountToken"])
    return account.get("automountServiceAccountToken") is not False


def mount_token(spec: Object) -> None:
    """Give every container that does not mount something there itself the token volume."""
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    wanting = [
        container
        for container in containers
        if not any(mount.get("mountPath") == MOUNT_PATH for mount in container.get("volumeMounts") or ())
    ]
    if not wanting:
        return
    existing = next(
        (volume["name"] for volume in spec.get("volumes") or () if volume["name"].startswith(VOLUME_PREFIX)), ""
    )
    volume_name = existing or names.generate_name(VOLUME_PREFIX)
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
