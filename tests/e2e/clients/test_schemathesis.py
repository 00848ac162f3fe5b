"""Generated requests after the published OpenAPI v3 documents: nothing fails inside, nothing answers off the record.

The documents name the codes of success and 401, as kube-apiserver's do; what else there may be is in the API
conventions ("HTTP Status codes").
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from kubernetes import config
from schemathesis.generation.modes import GenerationMode

from tests.e2e.orchestrator_process import OrchestratorProcess

CONVENTIONAL = frozenset((400, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429))
GROUP_VERSIONS = [
    "api/v1",
    "apis/apps/v1",
    "apis/apiextensions.k8s.io/v1",
    "apis/authorization.k8s.io/v1",
    "apis/autoscaling/v2",
    "apis/batch/v1",
    "apis/certificates.k8s.io/v1",
    "apis/networking.k8s.io/v1",
    "apis/policy/v1",
    "apis/rbac.authorization.k8s.io/v1",
    "apis/storage.k8s.io/v1",
]
EXAMPLES = int(os.environ.get("ORCHESTRATOR_SCHEMATHESIS_EXAMPLES", "1"))
"""Generated requests for each operation; more of them are for a run by hand."""
STREAMS = ("/watch/", "/proxy", "/exec", "/attach", "/portforward", "/log")
"""Have tests of their own: they stay open, or lead to what runs in a pod."""


@pytest.fixture(scope="module")
def hollow(start_orchestrator: Callable[..., OrchestratorProcess]) -> OrchestratorProcess:
    """A cluster that nobody else needs: among the requests are deletions of everything, roles of controllers too."""
    return start_orchestrator("--nodes", "2", "--runtime", "hollow")


@pytest.fixture(scope="module")
def session(hollow: OrchestratorProcess) -> Iterator[requests.Session]:
    configuration = config.new_client_from_config(str(hollow.kubeconfig)).configuration
    with requests.Session() as session:
        session.trust_env = False  # a CA bundle of the environment would take the place of the cluster's
        session.verify = configuration.ssl_ca_cert
        session.cert = (configuration.cert_file, configuration.key_file)
        yield session


@pytest.mark.parametrize("group_version", GROUP_VERSIONS)
def test_no_request_fails_inside(hollow: OrchestratorProcess, session: requests.Session, group_version: str) -> None:
    document = session.get(f"{hollow.url}/openapi/v3/{group_version}").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.base_url = hollow.url
    wrong: list[str] = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if any(part in operation.path for part in STREAMS):
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try_operation(operation, mode, session, wrong)
    assert not wrong, "\n".join(wrong[:40])


def try_operation(operation: Any, mode: GenerationMode, session: requests.Session, wrong: list[str]) -> None:
    documented = {int(code) for code in operation.responses.status_codes if code.isdigit()}

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def try_case(case: Any) -> None:
        if case.query:
            case.query.pop("watch", None)
        response = case.call(session=session, timeout=20, verify=session.verify)
        if response.status_code >= 500 or response.status_code not in documented | CONVENTIONAL:
            shown = f"{operation.label} ({mode.value}): {response.status_code} {response.text[:300]}"
            wrong.append(f"{shown}\n  {case.as_curl_command()[:600]}")

    try:
        try_case()
    except schemathesis.errors.SchemathesisError as error:
        wrong.append(f"{operation.label}: the document is not usable: {error}")
    except Exception as error:
        if type(error).__name__ not in ("Unsatisfiable", "SkipTest"):
            raise
