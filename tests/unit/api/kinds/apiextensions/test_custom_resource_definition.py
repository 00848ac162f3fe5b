"""CustomResourceDefinitions: defaults, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from orchestrator.api.kinds.apiextensions.custom_resource_definition import (
    default_definition,
    prepare_create,
    prepare_update,
    validate_definition,
    validate_definition_update,
    validate_status_update,
)

SCHEMA = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}


def definition(**spec: Any) -> dict[str, Any]:
    obj = {
        "metadata": {"name": "gadgets.g.example.com"},
        "spec": {
            "group": "g.example.com",
            "scope": "Namespaced",
            "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [version()],
            **spec,
        },
    }
    default_definition(obj)
    prepare_create(obj)
    return obj


def version(name: str = "v1", *, storage: bool = True, **more: Any) -> dict[str, Any]:
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": SCHEMA}, **more}


def test_defaults() -> None:
    obj = definition()
    assert obj["spec"]["names"]["singular"] == "gadget"
    assert obj["spec"]["names"]["listKind"] == "GadgetList"
    assert obj["spec"]["conversion"] == {"strategy": "None"}
    assert obj["status"]["storedVersions"] == ["v1"]
    assert validate_definition(obj) == []


SCALE = {"specReplicasPath": ".spec.a", "statusReplicasPath": ".status.b"}
SERVICE = {"name": "s", "namespace": "n"}


def webhook(**client: Any) -> dict[str, Any]:
    return {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": client}}


@pytest.mark.parametrize(
    ("spec", "field", "text"),
    [
        ({"group": "single"}, "spec.group", "should be a domain with at least one dot"),
        ({"scope": "Galaxy"}, "spec.scope", 'supported values: "Cluster", "Namespaced"'),
        ({"preserveUnknownFields": True}, "spec.preserveUnknownFields", "cannot set to true"),
        ({"versions": [version(), version()]}, "spec.versions", "must contain unique version names"),
        ({"versions": [version(storage=False)]}, "spec.versions", "must have exactly one version marked as storage"),
        ({"versions": [version("V1")]}, "spec.versions[0].name", "DNS-1035"),
        ({"versions": [version(deprecationWarning="old")]}, "spec.versions[0].deprecationWarning", "deprecated"),
        ({"names": {"plural": "gadgets", "kind": "Ga dget"}}, "spec.names.kind", "may have mixed case"),
        ({"names": {"plural": "gadgets", "kind": "K", "listKind": "K"}}, "spec.names.listKind", "may not be the same"),
        ({"names": {"plural": "other", "kind": "K"}}, "metadata.name", 'must be spec.names.plural+"."+spec.group'),
        ({"versions": [version(subresources={"scale": {**SCALE, "specReplicasPath": "spec.a"}})]},
         "spec.subresources.scale.specReplicasPath", "must be a simple json path starting with ."),
        ({"versions": [version(subresources={"scale": {"specReplicasPath": ".spec.a"}})]},
         "spec.subresources.scale.statusReplicasPath", "Required value"),
        ({"versions": [version(additionalPrinterColumns=[{"name": "C", "type": "text", "jsonPath": ".a"}])]},
         "spec.additionalPrinterColumns[0].type", "must be one of boolean,date,integer,number,string"),
        ({"versions": [version(selectableFields=[{"jsonPath": ".spec"}])]}, "spec.selectableFields[0].jsonPath",
         "must point to a field of type string, boolean or integer"),
        ({"versions": [version(selectableFields=[{"jsonPath": ".spec.nope"}])]}, "spec.selectableFields[0].jsonPath",
         "is an invalid path"),
        ({"versions": [version(), version("v2", storage=False, schema={"openAPIV3Schema": {"type": "string"}})]},
         "spec.versions[1].schema.openAPIV3Schema.type", "must be object at the root"),
        ({"conversion": {"strategy": "Magic"}}, "spec.conversion.strategy", '"None", "Webhook"'),
        ({"conversion": {"strategy": "Webhook"}}, "spec.conversion.webhookClientConfig", "required when strategy"),
        ({"conversion": webhook()}, "spec.conversion.webhookClientConfig", "exactly one of url or service"),
        ({"conversion": webhook(url="http://x")}, "spec.conversion.webhookClientConfig.url", "'https' is the only"),
        ({"conversion": webhook(service={"name": "s"})}, "spec.conversion.webhookClientConfig.service.namespace", ""),
    ],
)  # fmt: skip
def test_what_is_refused(spec: dict[str, Any], field: str, text: str) -> None:
    found = [(c.field, c.message) for c in validate_definition(definition(**spec))]
    assert any(where == field and text in message for where, message in found), found


def test_a_webhook_on_a_service_is_valid() -> None:
    obj = definition(conversion=webhook(service=dict(SERVICE)))
    assert obj["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["port"] == 443
    assert validate_definition(obj) == []


def test_updates() -> None:
    old = definition()
    new = copy.deepcopy(old)
    new["spec"]["scope"] = "Cluster"
    assert validate_definition_update(new, old) == []
    old["status"]["conditions"] = [{"type": "Established", "status": "True"}]
    assert [c.field for c in validate_definition_update(new, old)] == ["spec.scope"]
    switched = copy.deepcopy(old)
    switched["spec"]["versions"] = [version(storage=False), version("v2")]
    prepare_update(switched, old)
    assert switched["status"]["storedVersions"] == ["v1", "v2"]
    assert validate_definition_update(switched, old) == []
    dropped = copy.deepcopy(switched)
    dropped["spec"]["versions"] = [version("v2")]
    assert [c.field for c in validate_definition_update(dropped, switched)] == ["status.storedVersions[0]"]


@pytest.mark.parametrize(
    ("warning", "text"),
    [
        ("", "must not be an empty string"),
        ("x" * 257, "must be <= 256 characters long"),
        ("\u00e4\n", "must only contain printable UTF-8 characters; non-printable character found at index 2"),
    ],
)
def test_deprecation_warnings(warning: str, text: str) -> None:
    causes = validate_definition(definition(versions=[version(deprecated=True, deprecationWarning=warning)]))
    assert [(cause.field, text in cause.message) for cause in causes] == [("spec.versions[0].deprecationWarning", True)]


@pytest.mark.parametrize(
    ("conversion", "expected"),
    [
        ({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1", "v1", "V"],
                                             "clientConfig": {"service": {**SERVICE, "path": "/A"}}}},
         ["spec.conversion.webhookClientConfig.service.path", "spec.conversion.conversionReviewVersions[1]",
          "spec.conversion.conversionReviewVersions[2]"]),
        ({"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"]}},
         ["spec.conversion.conversionReviewVersions"]),
    ],
)  # fmt: skip
def test_conversions(conversion: dict[str, Any], expected: list[str]) -> None:
    assert [cause.field for cause in validate_definition(definition(conversion=conversion))] == expected


def test_stored_versions() -> None:
    before = definition(versions=[version("v1"), version("v2", storage=False)])
    after = copy.deepcopy(before)
    after["spec"]["versions"] = [version("v2")]
    causes = validate_definition_update(after, before)
    assert [cause.field for cause in causes] == ["status.storedVersions", "status.storedVersions[0]"]
    assert causes[0].message == 'Invalid value: ["v1"]: must have the storage version v2'
    assert causes[1].message.startswith('Invalid value: "v1": missing from spec.versions; v1 was previously a storage')
    after["status"]["storedVersions"] = []
    assert validate_status_update(after, before) == []
