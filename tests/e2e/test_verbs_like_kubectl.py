"""The client verbs print what kubectl prints: the same command line for both, on the same objects.

Commands that only read are run on one set of objects; for those that write there are twins, one namespace for
kubectl and one for the verbs.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess

READ = [
    "get pods",
    "get pods -o wide",
    "get pods -o name",
    "get pods --show-labels",
    "get pods -L app,tier",
    "get pods --show-kind",
    "get pods -l app=web",
    "get pods --sort-by=.metadata.name -o name",
    "get pods -o json",
    "get pods -o yaml",
    "get pod db-0 -o json",
    "get pod db-0 -o yaml",
    "get pod db-0 -o jsonpath={.spec.containers[*].name}",
    "get pods -o custom-columns=NAME:.metadata.name,IMAGE:.spec.containers[0].image,NONE:.spec.nothing",
    "get deployment,statefulset,service",
    "get deployment/web statefulset/db",
    "get deployment web -o wide",
    "get deployment web --subresource=scale",
    "get all",
    "get configmap settings nothing",
    "get nothing",
    "get pods web -A",
    "get configmaps --chunk-size=1",
    "get configmaps -n nowhere",
    "get nodes",
    "get nodes -o wide",
    "get endpoints web",
    "get componentstatuses",
    "get priorityclasses,flowschemas",
    "get replicasets -o wide",
    "describe pod db-0",
    "describe deployment web",
    "describe replicaset -l app=web",
    "describe statefulset db",
    "describe daemonset agent",
    "describe service web",
    "describe configmap settings",
    "describe secret hidden",
    "describe serviceaccount default",
    "describe job once",
    "describe pvc claim",
    "describe role reader",
    "describe rolebinding readers",
    "describe pdb guard",
    "describe quota small",
    "describe limits limits",
    "describe nothing",
    "rollout status deployment/web",
    "rollout status statefulset/db",
    "rollout status daemonset/agent",
    "rollout history deployment/web",
    "rollout history deployment/web --revision=1",
    "rollout history deployment/web --revision=9",
    "rollout status deployment/nothing",
    "rollout status configmap/settings",
    "events --types=Warning",
    "events --for deployment/web",
]

WRITE = [
    "apply -f all.yaml",
    "apply -f all.yaml",
    "apply -f all.yaml --dry-run=server",
    "apply -f changed.yaml -o name",
    "apply -f all.yaml",
    "apply -f unknown-field.yaml",
    "apply -f unknown-field.yaml --validate=warn",
    "apply -f unknown-kind.yaml",
    "apply -f nothing.yaml",
    "apply --server-side -f shared.yaml --field-manager=one",
    "apply --server-side -f shared-2.yaml --field-manager=two --force-conflicts",
    "apply --server-side -f shared-2.yaml --field-manager=two --dry-run=server",
    "scale deployment web --replicas=3",
    "scale deployment/web --replicas=4 --current-replicas=9",
    "scale configmap settings --replicas=4",
    "scale deployment web",
    "scale deployment web --replicas=1 --dry-run=server",
    "rollout pause deployment/web",
    "rollout pause deployment/web",
    "rollout restart deployment/web",
    "rollout undo deployment/web",
    "rollout resume deployment/web",
    "rollout resume deployment/web",
    "rollout restart deployment/web",
    "rollout undo deployment/web --to-revision=9",
    "rollout undo statefulset/nothing",
    "rollout restart configmap/settings",
    "delete configmap settings --dry-run=server",
    "delete configmap settings",
    "delete configmap settings",
    "delete configmap settings --ignore-not-found",
    "delete -f all.yaml --wait=false --ignore-not-found -o name",
    "delete",
    "delete pods",
    "delete nothing nothing",
]

TEMPLATE = "spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: 'example.com/web:1'}]}"
ALL = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings}}
data: {{color: blue}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, labels: {{app: web}}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template: {{metadata: {{labels: {{app: web, tier: front}}}}, {TEMPLATE}}}
"""
MORE = f"""
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: headless
  selector: {{matchLabels: {{app: db}}}}
  template: {{metadata: {{labels: {{app: db}}}}, {TEMPLATE}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: agent}}
spec:
  selector: {{matchLabels: {{app: agent}}}}
  template: {{metadata: {{labels: {{app: agent}}}}, {TEMPLATE}}}
---
apiVersion: v1
kind: Service
metadata: {{name: headless}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{port: 5432, name: sql}}]}}
---
apiVersion: v1
kind: Secret
metadata: {{name: hidden}}
stringData: {{password: hunter2}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: once}}
spec:
  template:
    metadata: {{annotations: {{hollow.orchestrator.dev/run-seconds: "0"}}}}
    spec: {{restartPolicy: Never, containers: [{{name: c, image: 'example.com/web:1'}}]}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: daily}}
spec:
  schedule: 0 1 * * *
  jobTemplate: {{spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: c, image: 'b:1'}}]}}}}}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: site}}
spec:
  rules:
  - host: example.com
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: policy}}
spec: {{podSelector: {{}}, policyTypes: [Ingress]}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: claim}}
spec: {{accessModes: [ReadWriteOnce], storageClassName: none, resources: {{requests: {{storage: 1Gi}}}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: web}}
spec: {{scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}, minReplicas: 2, maxReplicas: 2}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reader}}
rules: [{{apiGroups: [""], resources: [pods], verbs: [get, list]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: readers}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}
subjects: [{{kind: User, name: jane, apiGroup: rbac.authorization.k8s.io}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: guard}}
spec: {{minAvailable: 1, selector: {{matchLabels: {{app: web}}}}}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {{name: small}}
spec: {{hard: {{configmaps: "9"}}}}
---
apiVersion: v1
kind: LimitRange
metadata: {{name: limits}}
spec: {{limits: [{{type: Container, max: {{cpu: "2"}}}}]}}
"""
FILES = {
    "all.yaml": ALL,
    "changed.yaml": ALL.replace("blue", "red"),
    "unknown-field.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndatta: {a: b}\n",
    "unknown-kind.yaml": "apiVersion: example.com/v1\nkind: Nothing\nmetadata: {name: a}\n",
    "shared.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\ndata: {a: '1'}\n",
    "shared-2.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\ndata: {a: '2'}\n",
}

VARYING = re.compile(r"(?<![\w.])(?:\d+[smhd])+(?![\w.])|\d\d:\d\d:\d\d")
"""Ages and times: a second passes between the two."""
REPEATED = re.compile(r" \(x\d+ over <time>\)")
"""An event may be told once more in that second."""


def _seen(text: str, namespace: str) -> str:
    """What is compared: without ages and what depends on their width, and with the same name for both programs."""
    text = REPEATED.sub("", VARYING.sub("<time>", text.replace(namespace, "NAMESPACE")))
    text = re.sub(r"(?<=\S) {2,}", "  ", text.replace("orchestrator ", "kubectl "))
    text = re.sub(r"-{3,}|(?m: +$)", lambda match: match[0][:3].strip(), text)
    # From 1.34 on kubectl says from which namespace.
    text = text.replace(" deleted from NAMESPACE namespace", " deleted")
    return re.sub(r"resource(Version|\ version): \"?\d+\"?|was \d+", "<version>", text)


@pytest.fixture(scope="module")
def hollow(start_orchestrator: Callable[..., OrchestratorProcess]) -> OrchestratorProcess:
    """A cluster without containers."""
    return start_orchestrator("--runtime", "hollow", "--nodes", "2", "--ephemeral")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the manifests."""
    place = tmp_path_factory.mktemp("manifests")
    for name, text in FILES.items():
        (place / name).write_text(text)
    return place


class Both:
    """Runs one command line with kubectl and with the verbs."""

    def __init__(self, process: OrchestratorProcess, kubectl: Path, folder: Path) -> None:
        self._kubectl = kubectl
        self._folder = folder
        self.k = Kubectl(kubectl, process)
        self._environment = self.k.environment(KUBECONFIG=str(process.kubeconfig))

    def run(self, program: list[str], command: str, namespace: str) -> str:
        """Everything that one shows: stdout, stderr, exit code."""
        import shlex

        done = subprocess.run(
            [*program, *shlex.split(command), *(() if "-n " in command else ("-n", namespace))],
            cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=60, check=False, input="",
        )  # fmt: skip
        return f"{done.stdout}\n--- stderr\n{done.stderr}\n--- exit code {done.returncode}\n"

    def shown(self, command: str, namespaces: tuple[str, str]) -> tuple[str, str]:
        """What kubectl and what the verbs show."""
        theirs, ours = namespaces
        return (
            _seen(self.run([str(self._kubectl)], command, theirs), theirs),
            _seen(self.run([sys.executable, "-m", "orchestrator"], command, ours), ours),
        )


@pytest.fixture(scope="module")
def both(hollow: OrchestratorProcess, kubectl: Path, folder: Path) -> Both:
    return Both(hollow, kubectl, folder)


@pytest.fixture(scope="module")
def read(both: Both) -> dict[str, tuple[str, str]]:
    """What both show for every command that reads, once everything has come to rest."""
    k = both.k
    k("apply", "-f", "-", stdin=ALL + MORE)
    k("rollout", "status", "deployment/web")
    k("rollout", "status", "statefulset/db")
    k("rollout", "status", "daemonset/agent")
    k("wait", "--for=condition=Complete", "job/once")
    k("wait", "--for=jsonpath={.status.currentHealthy}=2", "pdb/guard")
    k("wait", "--for=jsonpath={.status.used.configmaps}=2", "quota/small")
    with ThreadPoolExecutor(3) as pool:
        shown = pool.map(lambda command: both.shown(command, ("default", "default")), READ)
    return dict(zip(READ, shown, strict=True))


@pytest.fixture(scope="module")
def written(both: Both) -> list[tuple[str, str]]:
    """What both show for every command that writes, in their order."""
    twins = ("twin-a", "twin-b")
    for name in twins:
        both.k("create", "namespace", name)
    for name in twins:
        twin = Kubectl(both.k.program, both.k.process, namespace=name)
        twin.wait_for("serviceaccounts", lambda found: any(a["metadata"]["name"] == "default" for a in found))
    return [both.shown(command, twins) for command in WRITE]


@pytest.mark.parametrize("command", READ)
def test_reading(command: str, read: dict[str, tuple[str, str]]) -> None:
    theirs, ours = read[command]
    assert ours == theirs


@pytest.mark.parametrize(("position", "command"), list(enumerate(WRITE)))
def test_writing(position: int, command: str, written: list[tuple[str, str]]) -> None:
    theirs, ours = written[position]
    assert ours == theirs
