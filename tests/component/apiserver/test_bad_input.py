"""What a client gets wrong is answered with Kubernetes' code and reason, and nothing is stored."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.api.objects import uid_of
from orchestrator.api.resources import ROLES, SERVICE_ACCOUNTS
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import running_cluster
from tests.golden.replay import anonymous_session_of, session_of

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """An API server over HTTPS with nobody else at work."""
    async with running_cluster(nodes=0, https=True, controllers=(), scheduler=False) as cluster:
        yield cluster


@pytest.fixture
async def session(cluster: Cluster) -> AsyncIterator[aiohttp.ClientSession]:
    """The administrator's HTTPS session."""
    async with session_of(cluster) as session:
        yield session


def config_map(name: str = "a", **fields: Any) -> dict[str, Any]:
    """A ConfigMap's manifest."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


async def post(
    session: aiohttp.ClientSession, body: Any, *, path: str = CONFIG_MAPS, content_type: str = "application/json"
) -> tuple[int, dict[str, Any]]:
    """POST a value (or a text as it is): (code, the parsed answer)."""
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    async with session.post(path, data=data, headers={"Content-Type": content_type}) as response:
        return response.status, await response.json(content_type=None)


@pytest.mark.parametrize(
    ("body", "content_type", "code", "reason", "message"),
    [
        ("{", "application/json", 400, "BadRequest", ""),
        ("a: [", "application/yaml", 400, "BadRequest", "error converting YAML to JSON: yaml: line"),
        ("", "application/json", 400, "BadRequest", ""),
        ("x", "text/plain", 415, "UnsupportedMediaType", "the body of the request was in an unknown format"),
        (json.dumps(config_map(data={"a": [1]})), "application/json", 400, "BadRequest", "cannot unmarshal array"),
        (json.dumps(config_map(kind="Secret")), "application/json", 400, "BadRequest", "as a ConfigMap"),
        (json.dumps(config_map("A_b")), "application/json", 422, "Invalid", 'ConfigMap "A_b" is invalid'),
        (json.dumps(config_map(data={"a b": "c"})), "application/json", 422, "Invalid", "data[a b]"),
        (json.dumps({"kind": "ConfigMap"}), "application/json", 422, "Invalid", "name or generateName"),
    ],
)  # fmt: skip
async def test_a_wrong_body_is_refused(
    session: aiohttp.ClientSession, body: str, content_type: str, code: int, reason: str, message: str
) -> None:
    status, answer = await post(session, body, content_type=content_type)
    assert (status, answer["kind"], answer["status"]) == (code, "Status", "Failure")
    assert (answer["code"], answer["reason"]) == (code, reason)
    assert message in answer["message"]
    await assert_nothing_is_stored(session)


async def assert_nothing_is_stored(session: aiohttp.ClientSession) -> None:
    async with session.get(CONFIG_MAPS) as response:
        assert (await response.json())["items"] == []


async def test_unknown_fields_follow_field_validation(session: aiohttp.ClientSession) -> None:
    body = json.dumps(config_map(datta={"a": "b"}))
    status, answer = await post(session, body, path=f"{CONFIG_MAPS}?fieldValidation=Strict")
    assert status == 400
    assert 'strict decoding error: unknown field "datta"' in answer["message"]
    await assert_nothing_is_stored(session)
    async with session.post(CONFIG_MAPS, data=body, headers={"Content-Type": "application/json"}) as response:
        assert response.status == 201
        assert response.headers["Warning"] == '299 - "unknown field \\"datta\\""'
        assert "datta" not in await response.json()


async def test_an_unknown_kind_is_not_found(session: aiohttp.ClientSession) -> None:
    status, answer = await post(session, {}, path="/api/v1/namespaces/default/nothings")
    assert (status, answer["reason"]) == (404, "NotFound")
    assert answer["message"] == "the server could not find the requested resource"


async def test_a_name_is_given_once(session: aiohttp.ClientSession) -> None:
    assert (await post(session, config_map()))[0] == 201
    status, answer = await post(session, config_map())
    assert (status, answer["reason"]) == (409, "AlreadyExists")
    assert answer["message"] == 'configmaps "a" already exists'
    assert answer["details"] == {"name": "a", "kind": "configmaps"}


async def test_a_stale_resource_version_conflicts(session: aiohttp.ClientSession) -> None:
    _, stored = await post(session, config_map(data={"n": "1"}))
    stored["data"] = {"n": "2"}
    async with session.put(f"{CONFIG_MAPS}/a", json=stored) as response:
        assert response.status == 200
    stored["data"] = {"n": "3"}
    async with session.put(f"{CONFIG_MAPS}/a", json=stored) as response:
        answer = await response.json()
        assert (response.status, answer["reason"]) == (409, "Conflict")
        assert "the object has been modified" in answer["message"]
    async with session.get(f"{CONFIG_MAPS}/a") as response:
        assert (await response.json())["data"] == {"n": "2"}


@pytest.mark.parametrize("size", [1_600_000, 3_200_000])
async def test_an_object_that_is_too_large_is_refused(session: aiohttp.ClientSession, size: int) -> None:
    # A Secret may hold 1 MiB and a ConfigMap too; annotations less. A CRD-sized kind shows the store's own limit.
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "big"},
        "spec": {"holderIdentity": "x" * size},
    }
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    status, answer = await post(session, lease, path=path)
    assert status == 413
    assert answer["reason"] == "RequestEntityTooLarge"
    async with session.get(path) as response:
        assert (await response.json())["items"] == []


async def test_a_config_map_may_hold_a_mebibyte(session: aiohttp.ClientSession) -> None:
    status, answer = await post(session, config_map(data={"a": "x" * 1_100_000}))
    assert (status, answer["reason"]) == (422, "Invalid")
    assert "Too long: may not be more than 1048576 bytes" in answer["message"]
    await assert_nothing_is_stored(session)


async def test_strangers_are_turned_away(cluster: Cluster) -> None:
    async with anonymous_session_of(cluster) as anonymous:
        async with anonymous.get("/api/v1/namespaces/default/pods") as response:
            answer = await response.json()
            assert response.status == 403
            assert answer["message"] == (
                'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group ""'
                ' in the namespace "default"'
            )
        async with anonymous.get("/api", headers={"Authorization": "Bearer wrong"}) as response:
            assert response.status == 401
            assert (await response.json())["reason"] == "Unauthorized"
        async with anonymous.get("/readyz") as response:
            assert (response.status, await response.text()) == (200, "ok")


TWICE = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: one\n  x: two\n  w: z\n"
REPEATED = 'yaml: unmarshal errors:\n  line 7: key "x" already set in map'


async def test_a_key_that_yaml_has_twice_is_refused_warned_of_or_ignored(session: aiohttp.ClientSession) -> None:
    async def send(validation: str) -> tuple[int, dict[str, Any], list[str]]:
        headers = {"Content-Type": "application/yaml"}
        query = {"fieldValidation": validation, "dryRun": "All"}
        async with session.post(CONFIG_MAPS, data=TWICE, params=query, headers=headers) as response:
            return response.status, await response.json(), response.headers.getall("Warning", [])

    status, answer, _ = await send("Strict")
    assert (status, answer["reason"]) == (400, "BadRequest")
    assert f"strict decoding error: {REPEATED}" in answer["message"]
    status, answer, warnings = await send("Warn")
    assert (status, answer["data"]) == (201, {"x": "two", "w": "z"})
    assert warnings == ['299 - "line 7: key \\"x\\" already set in map"']
    status, answer, warnings = await send("Ignore")
    assert (status, answer["data"], warnings) == (201, {"x": "two", "w": "z"}, [])


async def test_a_key_that_an_applied_configuration_has_twice_is_refused(session: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "application/apply-patch+yaml"}
    query = {"fieldManager": "m", "fieldValidation": "Strict"}
    async with session.patch(f"{CONFIG_MAPS}/a", data=TWICE, params=query, headers=headers) as response:
        answer = await response.json()
    assert (answer["code"], answer["reason"]) == (400, "BadRequest")
    assert answer["message"] == f"error strict decoding YAML: error converting YAML to JSON: {REPEATED}"
    await assert_nothing_is_stored(session)


async def test_what_is_only_asked_has_no_table(session: aiohttp.ClientSession) -> None:
    review = {"spec": {"resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    async with session.post(path, json=review, headers={"Accept": table}) as response:
        answer = await response.json()
    assert (answer["code"], answer["reason"]) == (406, "NotAcceptable")
    async with session.post(path, json=review, headers={"Accept": f"{table},application/json"}) as response:
        assert (await response.json())["status"]["allowed"] is True


async def test_bodies_are_not_unpacked(session: aiohttp.ClientSession) -> None:
    """As in kube-apiserver: what is said to be compressed is no JSON, however well it is compressed."""
    for body in (b"no gzip at all", gzip.compress(json.dumps(config_map()).encode())):
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        async with session.post(CONFIG_MAPS, data=body, headers=headers) as response:
            assert (response.status, (await response.json())["reason"]) == (400, "BadRequest")


async def test_a_client_that_asks_before_it_sends_a_body_is_told_to_go_on(session: aiohttp.ClientSession) -> None:
    """libcurl asks, and aiohttp when it is told to (RFC 9110, section 10.1.1)."""
    async with asyncio.timeout(10), session.post(CONFIG_MAPS, json=config_map(), expect100=True) as response:
        assert response.status == 201


@pytest.mark.parametrize("path", [CONFIG_MAPS, f"{CONFIG_MAPS}/absent", "/version", "/nowhere", "/healthz"])
async def test_every_answer_names_its_request_and_is_not_kept(session: aiohttp.ClientSession, path: str) -> None:
    ids = []
    for given in ("", "mine", "x" * 100, "\u00e4"):
        async with session.get(path, headers={"Audit-ID": given} if given else {}) as response:
            assert response.headers["Cache-Control"] == "no-cache, private"
            ids.append(response.headers["Audit-Id"])
    assert len({ids[0], ids[3]}) == 2
    assert {len(ids[0]), len(ids[3])} == {36}
    assert ids[1:3] == ["mine", "x" * 64]


async def test_long_selectors_are_read(session: aiohttp.ClientSession) -> None:
    names = ",".join(f"name-{number}" for number in range(8000))
    async with session.get(CONFIG_MAPS, params={"labelSelector": f"a in ({names})"}) as response:
        assert response.status == 200, await response.text()
        assert len(str(response.url)) > 60_000


async def test_what_is_no_http_is_no_failure_of_ours(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    context = ssl.create_default_context(cafile=str(cluster.config.data_dir / "pki" / "ca.crt"))
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port, ssl=context)
    writer.write(b"GET /x y z\x00 HTTP/9\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("timeout", "code"),
    [("invalid", 400), ("5", 400), ("3m", 200), ("0s", 200), ("-1s", 200), ("1m30s", 200), ("2s", 200)],
)
async def test_the_time_that_a_client_allows_must_be_a_duration(
    session: aiohttp.ClientSession, timeout: str, code: int
) -> None:
    for path in ("/version", CONFIG_MAPS):
        async with session.get(path, params={"timeout": timeout}) as response:
            assert response.status == code
            if code == 400:
                why = f'invalid timeout specified in the request URL - time: invalid duration "{timeout}"'
                assert (await response.json())["message"] == why


async def test_a_streamed_list_is_no_table(session: aiohttp.ClientSession) -> None:
    query = {
        "watch": "true",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "1",
    }
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    async with session.get(CONFIG_MAPS, params=query, headers={"Accept": table}) as response:
        assert (response.status, (await response.json())["reason"]) == (406, "NotAcceptable")
    async with session.get(CONFIG_MAPS, params=query, headers={"Accept": f"{table},application/json"}) as response:
        last = json.loads((await response.text()).splitlines()[-1])
    assert (last["type"], last["object"]["kind"]) == ("BOOKMARK", "ConfigMap")
    assert last["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    async with session.get(
        CONFIG_MAPS, params={"watch": "true", "timeoutSeconds": "1"}, headers={"Accept": table}
    ) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/namespaces/default/serviceaccounts/a/token", {"spec": {"boundObjectRef": ["x"]}}),
        ("POST", "/api/v1/namespaces/default/pods/p/eviction", {"metadata": {"name": "p"}, "deleteOptions": []}),
        ("POST", "/api/v1/namespaces/default/pods/p/binding", {"target": "node-1"}),
        ("POST", "/api/v1/namespaces/default/bindings", {"metadata": {"name": "p"}, "target": "node-1"}),
        ("PUT", "/api/v1/namespaces/default/finalize", {"spec": "none"}),
        ("PUT", "/api/v1/namespaces/default/finalize", {"metadata": {"resourceVersion": {"a": 1}}}),
    ],
)
async def test_what_subresources_take_is_decoded_too(
    cluster: Cluster, session: aiohttp.ClientSession, method: str, path: str, body: Any
) -> None:
    await cluster.client().create(SERVICE_ACCOUNTS, {"metadata": {"name": "a", "namespace": "default"}})
    async with session.request(method, path, json=body) as response:
        answer = await response.json()
    assert (response.status, answer["reason"]) == (400, "BadRequest")
    assert "cannot be handled as a" in answer["message"]


@pytest.mark.parametrize(
    "options",
    [
        {"preconditions": "x"},
        {"preconditions": {"uid": 1}},
        {"propagationPolicy": []},
        {"orphanDependents": "yes"},
        {"dryRun": "All"},
        {"gracePeriodSeconds": "1"},
        {"gracePeriodSeconds": 1.5},
        [],
        "x",
    ],
)
async def test_options_of_a_deletion_are_decoded(session: aiohttp.ClientSession, options: Any) -> None:
    assert (await post(session, config_map()))[0] == 201
    for path in (f"{CONFIG_MAPS}/a", CONFIG_MAPS):
        async with session.delete(path, json=options) as response:
            assert (response.status, (await response.json())["reason"]) == (400, "BadRequest")
    async with session.get(f"{CONFIG_MAPS}/a") as response:
        assert response.status == 200


async def test_what_is_accepted_with_doubts_comes_with_warnings(session: aiohttp.ClientSession) -> None:
    path = "/api/v1/namespaces/default/services"
    spec = {"ports": [{"port": 80}], "externalIPs": ["1.1.1.1", "01.1.1.1"]}

    async def send(method: str, at: str, service: dict[str, Any]) -> tuple[int, list[str]]:
        async with session.request(method, at, json=service) as response:
            return response.status, response.headers.getall("Warning", [])

    service = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "a"}, "spec": spec}
    expected = [
        '299 - "spec.externalIPs[1]: non-standard IP address \\"01.1.1.1\\" will be considered invalid in a future'
        ' Kubernetes release: use \\"1.1.1.1\\""',
        '299 - "spec.externalIPs is deprecated and may no longer be implemented in some clusters"',
    ]
    assert await send("POST", path, service) == (201, expected)
    assert await send("PUT", f"{path}/a", {**service, "spec": {**spec, "selector": {"a": "b"}}}) == (200, expected)
    assert await send("PUT", f"{path}/a", {**service, "spec": {**spec, "type": "X"}}) == (422, [])


async def test_media_types_that_the_router_does_not_know_never_reach_a_handler(session: aiohttp.ClientSession) -> None:
    offered = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    for path, types in ((CONFIG_MAPS, f"{offered}, {streams}"), (f"{CONFIG_MAPS}/none", offered)):
        for accept in ("text/html", "application/cbor"):
            async with session.get(path, headers={"Accept": accept}) as response:
                answer = await response.json()
            assert (answer["code"], answer["reason"]) == (406, "NotAcceptable")
            assert answer["message"] == f"406: Not Acceptable\n\nAvailable representations: {types}"
    async with session.patch(
        f"{CONFIG_MAPS}/none", data="{}", headers={"Content-Type": "application/json"}
    ) as response:
        answer = await response.json()
    assert (answer["code"], answer["message"]) == (415, "415: Unsupported Media Type")


async def test_a_body_of_a_deletion_counts_instead_of_the_url(session: aiohttp.ClientSession) -> None:
    async def delete(query: str, body: dict[str, Any] | None = None) -> int:
        async with session.delete(f"{CONFIG_MAPS}/a{query}", json=body) as response:
            return response.status

    async def is_there() -> bool:
        async with session.get(f"{CONFIG_MAPS}/a") as response:
            return response.status == 200

    await post(session, config_map())
    assert await delete("?dryRun=All") == 200
    assert await delete("", {"dryRun": ["All"]}) == 200
    assert await delete("?dryRun=Some") == 422
    assert await delete("?gracePeriodSeconds=x") == 400
    assert await is_there()
    assert await delete("?dryRun=All&propagationPolicy=Nonsense&gracePeriodSeconds=x", {"kind": "DeleteOptions"}) == 200
    assert not await is_there()


async def test_a_dry_run_of_a_deletion_is_one_for_admission_too(
    cluster: Cluster, session: aiohttp.ClientSession
) -> None:
    await post(session, config_map())
    seen = []
    admit = cluster.api.admission.validate

    async def validate(attributes: Any) -> None:
        seen.append(attributes.dry_run)
        await admit(attributes)

    cluster.api.admission.validate = validate  # type: ignore[method-assign]
    for body in ({"dryRun": ["All"]}, {}):
        async with session.delete(f"{CONFIG_MAPS}/a", json=body) as response:
            assert response.status == 200
    assert seen == [True, False]


async def test_only_numbers_are_durations_of_lists_and_watches(session: aiohttp.ClientSession) -> None:
    for query in ("timeoutSeconds=x", "watch=true&timeoutSeconds=x", "limit=x"):
        async with session.get(f"{CONFIG_MAPS}?{query}") as response:
            answer = await response.json()
        assert (answer["code"], answer["message"]) == (400, 'strconv.ParseInt: parsing "x": invalid syntax')
    for number in ("1_0", "\u0663"):
        async with session.get(CONFIG_MAPS, params={"limit": number}) as response:
            message = (await response.json())["message"]
        assert (response.status, message) == (400, f'strconv.ParseInt: parsing "{number}": invalid syntax')


@pytest.mark.parametrize("depth", [300, 1000, 2000, 20_000])
async def test_what_is_nested_too_deep_is_refused(session: aiohttp.ClientSession, depth: int) -> None:
    body = f'{{"metadata": {{"name": "deep"}}, "unknown": {"[" * depth}{"]" * depth}}}'
    for content_type in ("application/json", "application/yaml"):
        status, answer = await post(session, body, content_type=content_type)
        assert (status, answer["reason"]) == (400, "BadRequest")
        assert "depth" in answer["message"]


@pytest.mark.parametrize("number", [str(2**64), "9" * 5000])
async def test_numbers_have_64_bits(session: aiohttp.ClientSession, number: str) -> None:
    for parameter in ("limit", "resourceVersion"):
        async with session.get(CONFIG_MAPS, params={parameter: number}) as response:
            answer = await response.json()
        assert response.status == 400
        assert answer["message"].endswith(f'parsing "{number}": value out of range')


async def test_two_puts_that_make_an_object_at_once_both_succeed(tmp_path: Path) -> None:
    async with running_cluster(nodes=0, controllers=(), scheduler=False, data_dir=tmp_path) as cluster:
        client = cluster.client()
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": []}
        named = {**role, "metadata": {"name": "both", "namespace": "default"}}
        first, second = await asyncio.gather(client.update(ROLES, named), client.update(ROLES, named))
        assert uid_of(first) == uid_of(second)


async def test_rows_of_a_table_carry_only_what_a_table_can(session: aiohttp.ClientSession) -> None:
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    async with session.get(f"{CONFIG_MAPS}?includeObject=Everything", headers=accept) as response:
        answer = await response.json()
    assert (answer["code"], answer["message"]) == (
        400,
        'Unable to convert to Table as requested: includeObject: Invalid value: "Everything":'
        " must be 'Metadata', 'Object', 'None', or empty",
    )
    async with session.get(f"{CONFIG_MAPS}?includeObject=Everything") as response:
        assert response.status == 200


async def test_discovery_in_one_document_has_one_version(session: aiohttp.ClientSession) -> None:
    beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
    async with session.get("/apis", headers={"Accept": f"{beta},application/json"}) as response:
        assert (response.status, (await response.json())["kind"]) == (200, "APIGroupList")
    async with session.get("/apis", headers={"Accept": f"{beta},{beta.replace('v2beta1', 'v2')}"}) as response:
        answer = await response.json()
        assert (response.status, answer["apiVersion"]) == (200, "apidiscovery.k8s.io/v2")
        assert response.headers["Cache-Control"] == "public"


async def test_what_is_wrong_with_the_text_of_a_patch_is_told_before_unknown_fields(
    session: aiohttp.ClientSession,
) -> None:
    await post(session, config_map(data={"x": "1"}))

    async def patch(body: str, kind: str, validation: str = "Warn") -> tuple[int, list[str], str]:
        headers, query = {"Content-Type": f"application/{kind}"}, {"fieldValidation": validation}
        async with session.patch(f"{CONFIG_MAPS}/a", data=body, params=query, headers=headers) as response:
            warnings = [text.removeprefix("299 - ") for text in response.headers.getall("Warning", [])]
            return response.status, warnings, (await response.json()).get("message", "")

    twice = '{"foo": 1, "foo": 2, "data": {"x": "1", "x": "2"}}'
    for kind in ("merge-patch+json", "strategic-merge-patch+json"):
        status, warnings, _ = await patch(twice, kind)
        assert (status, warnings) == (
            200,
            ['"duplicate field \\"foo\\""', '"duplicate field \\"data.x\\""', '"unknown field \\"foo\\""'],
        )
        assert (await patch(twice, kind, "Ignore"))[:2] == (200, [])
        status, _, message = await patch('{"data": {"x": "1", "x": "2"}}', kind, "Strict")
        assert (status, 'strict decoding error: duplicate field "data.x"' in message) == (422, True)
    operations = (
        '[{"op": "add", "path": "/data/y", "value": "1", "why": 1},'
        ' {"op": "test", "op": "add", "path": "/z", "value": 1}]'
    )
    status, warnings, _ = await patch(operations, "json-patch+json")
    assert (status, warnings) == (
        200,
        [
            '"json patch unknown field \\"[0].why\\""',
            '"json patch duplicate field \\"[1].op\\""',
            '"unknown field \\"z\\""',
        ],
    )


async def test_json_with_tabs_is_applied(session: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "application/apply-patch+yaml"}
    body = '{\n\t"apiVersion": "v1",\n\t"kind": "ConfigMap",\n\t"data": {\n\t\t"a": "1",%s\n\t\t"b": "2"\n\t}\n}'
    for extra, warnings in (("", []), ('\n\t\t"a": "2",', ['299 - "line 6: key \\"a\\" already set in map"'])):
        query = {"fieldManager": "m"}
        async with session.patch(f"{CONFIG_MAPS}/a", data=body % extra, params=query, headers=headers) as response:
            assert response.status in (200, 201)
            assert response.headers.getall("Warning", []) == warnings
            assert (await response.json())["data"] == {"a": "2" if extra else "1", "b": "2"}
