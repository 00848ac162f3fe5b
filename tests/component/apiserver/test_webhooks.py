"""Admission by other people's programs and by policies, over real HTTPS."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.resources import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    SERVICES,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Resource,
)
from orchestrator.cluster.cluster import Cluster
from orchestrator.store import Key
from orchestrator.testing import running_cluster
from tests.golden.replay import session_of

API = "admissionregistration.k8s.io/v1"
Answer = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class Hook:
    """A webhook server on the loopback, and what it was asked."""

    answer: Answer = lambda request: {"allowed": True}
    before: Callable[[], Awaitable[None]] | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0
    ca_bundle: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        review = await request.json()
        if self.before is not None:
            await self.before()
        asked = review["request"]
        self.requests.append({**asked, "path": request.path_qs, "host": request.host})
        response = {"uid": asked["uid"], **self.answer(asked)}
        return web.json_response({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})

    def config(self, path: str = "/hook") -> dict[str, Any]:
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": self.ca_bundle}


def certificate(folder: Path) -> tuple[Path, str]:
    """A self-signed certificate for the loopback and for one Service."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hook")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("hook.default.svc")]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM)
    path = folder / "hook.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(pem + private)
    return path, base64.b64encode(pem).decode()


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[Hook]:
    served = Hook()
    path, served.ca_bundle = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    application = web.Application()
    application.router.add_post("/{path:.*}", served.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    served.port = runner.addresses[0][1]
    yield served
    await runner.cleanup()


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=0, controllers=(), scheduler=False) as cluster:
        yield cluster


def configuration(kind: str, *webhooks: dict[str, Any], name: str = "hooks") -> Object:
    rule = {
        "operations": ["CREATE", "UPDATE", "DELETE"],
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": ["configmaps"],
    }
    common = {"rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1"]}
    return {
        "apiVersion": API,
        "kind": kind,
        "metadata": {"name": name},
        "webhooks": [{"name": f"h{number}.example.com", **common, **one} for number, one in enumerate(webhooks)],
    }


def config_map(name: str = "a", **labels: str) -> Object:
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}}


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    text = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": text}


async def test_a_validating_webhook_sees_and_refuses(cluster: Cluster, hook: Hook) -> None:
    admin = cluster.client()
    hook.answer = lambda request: {"allowed": request["name"] != "bad", "status": {"message": "no", "code": 403}}
    await admin.create(
        VALIDATING_WEBHOOK_CONFIGURATIONS,
        configuration("ValidatingWebhookConfiguration", {"clientConfig": hook.config()}),
    )
    await admin.create(CONFIG_MAPS, config_map())
    asked = hook.requests[-1]
    assert asked["path"] == "/hook?timeout=10s"
    assert asked["kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert asked["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (asked["operation"], asked["namespace"], asked["dryRun"]) == ("CREATE", "default", False)
    assert asked["userInfo"]["username"] == "kubernetes-admin"
    assert (asked["object"]["data"], asked["oldObject"]) == ({"a": "b"}, None)
    with pytest.raises(errors.ApiError) as refused:
        await admin.create(CONFIG_MAPS, config_map("bad"))
    assert refused.value.code == 403
    assert refused.value.message == 'admission webhook "h0.example.com" denied the request: no'
    await admin.delete(CONFIG_MAPS, "a", "default")
    asked = hook.requests[-1]
    assert (asked["operation"], asked["object"], asked["oldObject"]["metadata"]["name"]) == ("DELETE", None, "a")


async def test_mutating_webhooks_run_in_order_and_again_where_needed(cluster: Cluster, hook: Hook) -> None:
    admin = cluster.client()

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        data = request["object"]["data"]
        if "second" not in data and "first" in data:
            return patch({"op": "add", "path": "/data/second", "value": "2"})
        if "first" not in data:
            return patch({"op": "add", "path": "/data/first", "value": "1"})
        return patch({"op": "add", "path": "/data/third", "value": "3"})

    hook.answer = answer
    again = {"clientConfig": hook.config("/one"), "reinvocationPolicy": "IfNeeded"}
    once = {"clientConfig": hook.config("/two")}
    await admin.create(MUTATING_WEBHOOK_CONFIGURATIONS, configuration("MutatingWebhookConfiguration", again, once))
    created = await admin.create(CONFIG_MAPS, config_map())
    assert created["data"] == {"a": "b", "first": "1", "second": "2", "third": "3"}
    assert [request["path"].partition("?")[0] for request in hook.requests] == ["/one", "/two", "/one"]


async def test_a_request_ends_when_its_client_says_so(hook: Hook) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def hesitate() -> None:
        asked.set()
        await go_on.wait()

    hook.before = hesitate
    one = configuration("ValidatingWebhookConfiguration", {"clientConfig": hook.config()})
    async with (
        running_cluster(nodes=0, https=True, controllers=(), scheduler=False) as cluster,
        session_of(cluster) as session,
    ):
        await cluster.client().create(VALIDATING_WEBHOOK_CONFIGURATIONS, one)
        path = "/api/v1/namespaces/default/configmaps?timeout=300ms"
        async with session.post(path, json=config_map()) as response:
            assert response.status == 504
            status = await response.json()
        go_on.set()
        with pytest.raises(errors.NotFound):
            await cluster.client().get(CONFIG_MAPS, "a", "default")
    assert asked.is_set()
    assert status["reason"] == "Timeout"
    why = "request did not complete within requested timeout - context deadline exceeded"
    assert status["message"] == f"Timeout: {why}"


async def test_an_answer_may_be_large(cluster: Cluster, hook: Hook) -> None:
    admin, text = cluster.client(), "x" * 500_000
    hook.answer = lambda request: patch({"op": "add", "path": "/data/large", "value": text})
    one = configuration("MutatingWebhookConfiguration", {"clientConfig": hook.config()})
    await admin.create(MUTATING_WEBHOOK_CONFIGURATIONS, one)
    assert (await admin.create(CONFIG_MAPS, config_map()))["data"]["large"] == text


@pytest.mark.parametrize("policy", ["Equivalent", "Exact"])
async def test_a_rule_about_another_version_sees_the_object_in_it(cluster: Cluster, hook: Hook, policy: str) -> None:
    admin = cluster.client()
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = [
        {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": schema}}
        for name in ("v1", "v2")
    ]
    names = {"plural": "gadgets", "kind": "Gadget"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions}
    definition = {"metadata": {"name": "gadgets.example.com"}, "spec": spec}
    await admin.create(CUSTOM_RESOURCE_DEFINITIONS, definition)
    rule = {"operations": ["*"], "apiGroups": ["example.com"], "apiVersions": ["v2"], "resources": ["gadgets"]}
    webhook = {"clientConfig": hook.config(), "rules": [rule], "matchPolicy": policy}
    hook.answer = lambda request: (
        patch({"op": "add", "path": "/seen", "value": request["object"]["apiVersion"]})
        if request["operation"] == "CREATE"
        else {"allowed": True}
    )
    one = configuration("MutatingWebhookConfiguration", webhook)
    await admin.create(MUTATING_WEBHOOK_CONFIGURATIONS, one)
    gadgets = Resource("example.com", "v1", "gadgets", "Gadget", True)
    created = await admin.create(gadgets, {"metadata": {"name": "g", "namespace": "default"}})
    await admin.delete(gadgets, "g", "default")
    if policy == "Exact":
        assert (created.get("seen"), hook.requests) == (None, [])
        return
    assert (created["apiVersion"], created["seen"]) == ("example.com/v1", "example.com/v2")
    asked = hook.requests[0]
    assert asked["kind"] == {"group": "example.com", "version": "v2", "kind": "Gadget"}
    assert asked["requestKind"] == {"group": "example.com", "version": "v1", "kind": "Gadget"}
    assert asked["requestResource"]["version"] == "v1"
    assert hook.requests[1]["operation"] == "DELETE"
    assert hook.requests[1]["oldObject"]["apiVersion"] == "example.com/v2"


async def test_scaling_is_a_write_of_a_scale(cluster: Cluster, hook: Hook) -> None:
    admin = cluster.client()
    labels = {"app": "web"}
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}},
    }
    await admin.create(DEPLOYMENTS, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
    rule = {"operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"]}
    whole = {**rule, "resources": ["deployments"]}
    limit = {"op": "replace", "path": "/spec/replicas", "value": 5}
    hook.answer = lambda request: patch(limit) if request["object"]["spec"]["replicas"] > 5 else {"allowed": True}
    mutating = configuration(
        "MutatingWebhookConfiguration",
        {"clientConfig": hook.config(), "rules": [rule]},
        {"clientConfig": hook.config("/whole"), "rules": [whole]},
    )
    await admin.create(MUTATING_WEBHOOK_CONFIGURATIONS, mutating)
    policy = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "object.spec.replicas != 4 && oldObject.kind == 'Scale'"}],
    }
    await admin.create(VALIDATING_ADMISSION_POLICIES, {"metadata": {"name": "p"}, "spec": policy})
    bound = {"policyName": "p", "validationActions": ["Deny"]}
    await admin.create(VALIDATING_ADMISSION_POLICY_BINDINGS, {"metadata": {"name": "p"}, "spec": bound})

    async def scale(replicas: int) -> Object:
        body = {"spec": {"replicas": replicas}}
        return await admin.patch(DEPLOYMENTS, "web", body, "default", subresource="scale")

    assert (await scale(9))["spec"]["replicas"] == 5
    assert (await admin.get(DEPLOYMENTS, "web", "default"))["spec"]["replicas"] == 5
    asked = hook.requests[-1]
    assert (asked["path"].partition("?")[0], asked["subResource"]) == ("/hook", "scale")
    assert asked["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert asked["resource"] == {"group": "apps", "version": "v1", "resource": "deployments"}
    assert asked["oldObject"]["spec"] == {"replicas": 2}
    with pytest.raises(errors.ApiError, match=r"deployments\.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'p'"):
        await scale(4)
    assert all(request["path"].startswith("/hook") for request in hook.requests), "the Deployment was not written"


async def test_selectors_and_conditions_choose(cluster: Cluster, hook: Hook) -> None:
    admin = cluster.client()
    hook.answer = lambda request: {"allowed": False}
    one = {
        "clientConfig": hook.config(),
        "objectSelector": {"matchLabels": {"watched": "yes"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
        "matchConditions": [{"name": "not-exempt", "expression": "object.metadata.name != 'exempt'"}],
    }
    await admin.create(VALIDATING_WEBHOOK_CONFIGURATIONS, configuration("ValidatingWebhookConfiguration", one))
    await admin.create(CONFIG_MAPS, config_map())
    await admin.create(CONFIG_MAPS, config_map("exempt", watched="yes"))
    await admin.create(
        CONFIG_MAPS, config_map("b", watched="yes") | {"metadata": {"name": "b", "namespace": "kube-public"}}
    )
    assert hook.requests == []
    with pytest.raises(errors.ApiError, match="denied the request without explanation") as refused:
        await admin.create(CONFIG_MAPS, config_map("c", watched="yes"))
    assert refused.value.code == 400


async def test_a_webhook_that_cannot_be_reached(cluster: Cluster, hook: Hook) -> None:
    admin = cluster.client()
    nowhere = {"url": "https://127.0.0.1:1/x", "caBundle": hook.ca_bundle}
    ignored = configuration(
        "ValidatingWebhookConfiguration", {"clientConfig": nowhere, "failurePolicy": "Ignore"}, name="ignored"
    )
    await admin.create(VALIDATING_WEBHOOK_CONFIGURATIONS, ignored)
    await admin.create(CONFIG_MAPS, config_map())
    await admin.create(
        VALIDATING_WEBHOOK_CONFIGURATIONS,
        configuration("ValidatingWebhookConfiguration", {"clientConfig": nowhere}, name="needed"),
    )
    with pytest.raises(errors.InternalError, match="failed to call webhook: Post"):
        await admin.create(CONFIG_MAPS, config_map("b"))
    # The configuration itself is never judged, so that a cluster can be saved.
    await admin.delete(VALIDATING_WEBHOOK_CONFIGURATIONS, "needed")
    await admin.create(CONFIG_MAPS, config_map("b"))


async def test_a_service_is_called_at_its_endpoints_under_its_own_name(cluster: Cluster, hook: Hook) -> None:
    admin = cluster.client()
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "hook", "namespace": "default"},
        "spec": {"ports": [{"name": "https", "port": 443}]},
    }
    await admin.create(SERVICES, service)
    endpoints: Object = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "hook-1",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "hook"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": hook.port}],
    }
    # The loopback is no address of an endpoint that the API would take.
    await cluster.store.create(Key(ENDPOINT_SLICES.group_resource, "default", "hook-1"), endpoints)
    config = {"service": {"namespace": "default", "name": "hook", "path": "/a"}, "caBundle": hook.ca_bundle}
    await admin.create(
        VALIDATING_WEBHOOK_CONFIGURATIONS,
        configuration("ValidatingWebhookConfiguration", {"clientConfig": config, "timeoutSeconds": 3}),
    )
    await admin.create(CONFIG_MAPS, config_map())
    assert (hook.requests[-1]["host"], hook.requests[-1]["path"]) == ("hook.default.svc", "/a?timeout=3s")


async def test_a_policy_judges_where_it_is_bound(cluster: Cluster) -> None:
    admin = cluster.client()
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    await admin.create(
        VALIDATING_ADMISSION_POLICIES,
        {
            "apiVersion": API,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "small"},
            "spec": {
                "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
                "matchConstraints": {"resourceRules": [rule]},
                "variables": [{"name": "keys", "expression": "size(object.data)"}],
                "validations": [
                    {
                        "expression": "variables.keys <= int(params.data.max)",
                        "messageExpression": "'at most ' + params.data.max + ' keys'",
                        "reason": "Forbidden",
                    }
                ],
            },
        },
    )
    await admin.create(CONFIG_MAPS, {**config_map("limits"), "data": {"max": "1"}})
    two: Object = {**config_map("two"), "data": {"a": "1", "b": "2"}}
    await admin.create(CONFIG_MAPS, two)  # nothing binds the policy yet
    await admin.delete(CONFIG_MAPS, "two", "default")
    await admin.create(
        VALIDATING_ADMISSION_POLICY_BINDINGS,
        {
            "apiVersion": API,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": "everywhere"},
            "spec": {
                "policyName": "small",
                "validationActions": ["Deny"],
                "paramRef": {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"},
            },
        },
    )
    with pytest.raises(errors.ApiError) as refused:
        await admin.create(CONFIG_MAPS, two)
    assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
    assert refused.value.message == (
        "configmaps \"two\" is forbidden: ValidatingAdmissionPolicy 'small' with binding 'everywhere' denied"
        " request: at most 1 keys"
    )
    await admin.create(CONFIG_MAPS, config_map("one"))


@pytest.mark.parametrize(
    ("kind", "resource"),
    [
        ("ValidatingWebhookConfiguration", VALIDATING_WEBHOOK_CONFIGURATIONS),
        ("MutatingWebhookConfiguration", MUTATING_WEBHOOK_CONFIGURATIONS),
    ],
)
async def test_a_condition_that_does_not_compile_is_refused(
    cluster: Cluster, hook: Hook, kind: str, resource: Resource
) -> None:
    condition = {"name": "bad", "expression": "... [] bad expression"}
    wrong = configuration(kind, {"clientConfig": hook.config(), "matchConditions": [condition]})
    with pytest.raises(errors.Invalid, match=r"webhooks\[0\]\.matchConditions\[0\]\.expression.*compilation failed"):
        await cluster.client().create(resource, wrong)


async def test_a_policy_whose_expressions_do_not_compile_is_refused(cluster: Cluster) -> None:
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "variables": [{"name": "v", "expression": "object."}],
        "validations": [{"expression": "nobody == 1", "messageExpression": "'a' +"}],
    }
    policy = {"apiVersion": API, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"}, "spec": spec}
    with pytest.raises(errors.Invalid) as refused:
        await cluster.client().create(VALIDATING_ADMISSION_POLICIES, policy)
    fields = [cause.field for cause in refused.value.causes if "compilation failed" in cause.message]
    assert fields == [
        "spec.variables[0].expression",
        "spec.validations[0].expression",
        "spec.validations[0].messageExpression",
    ]


@pytest.mark.parametrize(
    ("path", "resource", "kind", "options"),
    [
        ("pods/p/attach?container=c&stdin=true", "pods/attach", "PodAttachOptions", {"container": "c", "stdin": True}),
        ("pods/p/exec?command=a&command=b", "pods/exec", "PodExecOptions", {"command": ["a", "b"]}),
        ("pods/p/portforward?ports=80,81", "pods/portforward", "PodPortForwardOptions", {"ports": [80, 81]}),
        ("pods/p/proxy/x/y", "pods/proxy", "PodProxyOptions", {"path": "/x/y"}),
        ("services/p/proxy/", "services/proxy", "ServiceProxyOptions", {"path": "/"}),
    ],
)
async def test_connections_are_refused_before_anything_is_looked_for(
    hook: Hook, path: str, resource: str, kind: str, options: dict[str, Any]
) -> None:
    hook.answer = lambda request: {"allowed": False, "status": {"message": "no connection"}}
    rule = {"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": [resource]}
    async with (
        running_cluster(nodes=0, controllers=(), scheduler=False, https=True) as cluster,
        session_of(cluster) as session,
    ):
        refusing = configuration("ValidatingWebhookConfiguration", {"clientConfig": hook.config(), "rules": [rule]})
        await cluster.client().create(VALIDATING_WEBHOOK_CONFIGURATIONS, refusing)
        async with session.post(f"/api/v1/namespaces/default/{path}") as response:
            answer = await response.json()
    assert answer["message"].endswith("denied the request: no connection")
    asked = hook.requests[0]
    assert (asked["operation"], asked["name"], asked["kind"]["kind"]) == ("CONNECT", "p", kind)
    assert asked["object"] == {"kind": kind, "apiVersion": "v1", **options}
    assert (asked["oldObject"], asked["options"]) == (None, None)
