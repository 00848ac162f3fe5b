"""MutatingAdmissionWebhook and ValidatingAdmissionWebhook: other people's programs decide about writes.

Source: "Dynamic Admission Control", kubernetes.io (`admission.k8s.io/v1` AdmissionReview). Mutating webhooks are
called one after the other, by configuration name, and once more when a later one changed what they saw and they
ask for it; validating ones all at once.
# Simplified: bindings are not sent; the options of a CONNECT cannot be changed.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from msgspec import Struct

from orchestrator.api import errors
from orchestrator.api.decode import decode
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.objects import Object, copy_object
from orchestrator.api.patch.json_patch import apply_json_patch
from orchestrator.api.resources import MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_WEBHOOK_CONFIGURATIONS, Resource
from orchestrator.apiserver.admission.equivalence import match_kind, seen_as, take_back
from orchestrator.apiserver.admission.expressions import (
    ExpressionError,
    authorizing,
    meets_conditions,
    request_of,
    variables_of,
)
from orchestrator.apiserver.admission.matching import EXEMPT, matches_namespace, matches_object
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes, Reader
from orchestrator.apiserver.authorizer import Authorizer
from orchestrator.apiserver.incoming import normalized, schema_of
from orchestrator.apiserver.object_kinds import object_kind
from orchestrator.apiserver.webhook_client import WebhookClient, WebhookFailed, gather_all
from orchestrator.logs import get_logger
from orchestrator.store import Event, EventType, Record, Store

API_VERSION = "admission.k8s.io/v1"
OPERATIONS = ("CREATE", "UPDATE", "DELETE", "CONNECT")


class WebhookDenied(errors.ApiError):
    """A webhook said no; code and reason are its own."""

    def __init__(self, name: str, result: Mapping[str, Any]) -> None:
        denied_by = f'admission webhook "{name}" denied the request'
        message, reason = result.get("message") or "", result.get("reason") or ""
        if message or reason:
            super().__init__(f"{denied_by}: {message or reason}")
        else:
            super().__init__(f"{denied_by} without explanation")
        code = result.get("code")
        self.code = code if isinstance(code, int) and code >= 400 else 400  # type: ignore[misc]
        self.reason = reason  # type: ignore[misc]
        self.has_details = False  # type: ignore[misc]
        details = result.get("details") or {}
        self.group, self.kind, self.name = (details.get(key) or "" for key in ("group", "kind", "name"))
        self.uid = details.get("uid") or ""
        self.causes = tuple(
            Cause(one.get("reason") or "", one.get("message") or "", one.get("field") or "")
            for one in details.get("causes") or ()
        )


class Verdict(Struct, frozen=True):
    """What a webhook answered."""

    patch: list[Any] | None
    warnings: list[str]


class _Match(NamedTuple):
    """A webhook that is about a write."""

    identity: str
    webhook: Mapping[str, Any]
    kind: Kind
    """As which it sees the object."""


class _Webhooks(AdmissionPlugin):
    """What both plugins share: which webhooks there are, which of them are about a write, and the call."""

    resource: Resource

    def __init__(
        self, store: Store, reader: Reader, registry: Registry, authorizer: Authorizer, client: WebhookClient
    ) -> None:
        self._reader = reader
        self._registry = registry
        self._authorizer = authorizer
        self._client = client
        self._configurations: dict[str, Record] = {}
        self._log = get_logger("apiserver/webhooks")
        store.observe(self.resource.group_resource, self._on_configuration)

    def _on_configuration(self, event: Event) -> None:
        name = event.record.key.name
        if event.type is EventType.DELETED:
            self._configurations.pop(name, None)
        else:
            self._configurations[name] = event.record

    def handles(self, attributes: Attributes) -> bool:
        return (
            bool(self._configurations)
            and attributes.operation in OPERATIONS
            and attributes.group_resource not in EXEMPT
        )

    def _webhooks(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(identity, webhook), by configuration name and then in order."""
        for name in sorted(self._configurations):
            for position, webhook in enumerate(self._configurations[name].obj.get("webhooks") or ()):
                yield f"{name}/{position}", webhook

    async def _matching(self, attributes: Attributes) -> list[_Match]:
        found = [
            _Match(identity, webhook, kind)
            for identity, webhook in self._webhooks()
            if (kind := self._matched_kind(webhook, attributes)) is not None
            and matches_object(webhook.get("objectSelector"), attributes)
        ]
        if not found:
            return found
        namespace = None
        if attributes.kind.resource.namespaced:
            namespace = await self._reader.read("namespaces", attributes.namespace)
        return [
            match for match in found if matches_namespace(match.webhook.get("namespaceSelector"), attributes, namespace)
        ]

    def _matched_kind(self, webhook: Mapping[str, Any], attributes: Attributes) -> Kind | None:
        policy = webhook.get("matchPolicy") or "Equivalent"
        return match_kind(webhook.get("rules") or (), policy, attributes, self._registry)

    async def _ask(self, webhook: Mapping[str, Any], attributes: Attributes) -> Verdict | None:
        """The verdict of one webhook; None when it does not want to see this, or may be ignored."""
        name = webhook.get("name") or ""
        try:
            conditions = webhook.get("matchConditions") or ()
            if conditions and not self._meets(conditions, attributes):
                return None
            if attributes.dry_run and webhook.get("sideEffects") not in ("None", "NoneOnDryRun"):
                raise errors.BadRequest(f"admission webhook {quoted(name)} does not support dry run")
            uid = str(uuid.uuid4())
            seconds = webhook.get("timeoutSeconds") or 10
            answer = await self._client.post(
                webhook.get("clientConfig") or {}, review_of(attributes, uid), timeout_seconds=seconds
            )
            return verdict_of(name, uid, answer)
        except (WebhookFailed, ExpressionError) as error:
            why = f"failed calling webhook {quoted(name)}: failed to call webhook: {error}"
            if webhook.get("failurePolicy") == "Ignore":
                self._log.warning("webhook.ignored", webhook=name, error=str(error))
                return None
            raise errors.InternalError.because(why) from None

    def _meets(self, conditions: Sequence[Mapping[str, Any]], attributes: Attributes) -> bool:
        with authorizing(self._authorizer, attributes.user):
            return meets_conditions(conditions, variables_of(attributes))


class MutatingAdmissionWebhook(_Webhooks):
    """Webhooks that may change the object."""

    name = "MutatingAdmissionWebhook"
    resource = MUTATING_WEBHOOK_CONFIGURATIONS

    async def admit(self, attributes: Attributes) -> None:
        if attributes.operation == "DELETE":
            return
        seen: dict[str, Object] = {}
        before = attributes.obj
        for identity, webhook, kind in await self._matching(attributes):
            if attributes.is_reinvocation and (
                webhook.get("reinvocationPolicy") != "IfNeeded"
                or attributes.seen_by_webhooks.get(identity) in (None, attributes.obj)
            ):
                continue
            await self._mutate(webhook, attributes, kind)
            seen[identity] = copy_object(attributes.obj)
        if not attributes.is_reinvocation:
            attributes.seen_by_webhooks = seen
            # Plugins that ran before have not seen what webhooks made of the object.
            attributes.reinvoke = attributes.reinvoke or (attributes.obj != before and bool(seen))

    async def _mutate(self, webhook: Mapping[str, Any], attributes: Attributes, kind: Kind) -> None:
        seen = await seen_as(attributes, kind)
        verdict = await self._ask(webhook, seen)
        if verdict is None:
            return
        attributes.warnings.extend(verdict.warnings)
        if verdict.patch and attributes.operation != "CONNECT":
            seen.obj = patched(seen, verdict.patch, webhook.get("name") or "")
            await take_back(attributes, seen)

    async def validate(self, attributes: Attributes) -> None:
        if attributes.operation != "DELETE":
            return
        for _, webhook, kind in await self._matching(attributes):
            verdict = await self._ask(webhook, await seen_as(attributes, kind))
            if verdict is not None:
                attributes.warnings.extend(verdict.warnings)


class ValidatingAdmissionWebhook(_Webhooks):
    """Webhooks that only judge."""

    name = "ValidatingAdmissionWebhook"
    resource = VALIDATING_WEBHOOK_CONFIGURATIONS

    async def validate(self, attributes: Attributes) -> None:
        matching = await self._matching(attributes)
        if not matching:
            return
        calls = [self._ask(webhook, await seen_as(attributes, kind)) for _, webhook, kind in matching]
        for verdict in await gather_all(calls):
            if verdict is not None:
                attributes.warnings.extend(verdict.warnings)


def review_of(attributes: Attributes, uid: str) -> Object:
    """The AdmissionReview that a webhook gets."""
    request = request_of(attributes, uid)
    request["object"] = attributes.obj or None
    request["oldObject"] = attributes.old
    return {"kind": "AdmissionReview", "apiVersion": API_VERSION, "request": request}


def verdict_of(name: str, uid: str, answer: Mapping[str, Any]) -> Verdict:
    """What an answer says; WebhookDenied, or WebhookFailed when it makes no sense."""
    if answer.get("kind") != "AdmissionReview" or answer.get("apiVersion") != API_VERSION:
        shown = f"{answer.get('apiVersion') or ''}, Kind={answer.get('kind') or ''}"
        raise WebhookFailed(f"received invalid webhook response: expected webhook response of {API_VERSION}, Kind=AdmissionReview, got {shown}")  # fmt: skip  # noqa: E501
    response = answer.get("response")
    if not isinstance(response, dict):
        raise WebhookFailed("received invalid webhook response: webhook response was absent")
    if response.get("uid") != uid:
        raise WebhookFailed(
            f"received invalid webhook response: expected response.uid={quoted(uid)},"
            f" got {quoted(response.get('uid') or '')}"
        )
    warnings = [str(text) for text in response.get("warnings") or ()]
    if not response.get("allowed"):
        raise WebhookDenied(name, response.get("status") or {})
    text, kind = response.get("patch"), response.get("patchType")
    if not text and not kind:
        return Verdict(None, warnings)
    if kind != "JSONPatch" or not text:
        raise WebhookFailed(
            "received invalid webhook response: webhook returned response.patch but not response.patchType"
            if text
            else f"received invalid webhook response: invalid response.patchType {kind}"
        )
    try:
        patch = orjson.loads(base64.b64decode(text))
    except ValueError as error:
        raise WebhookFailed(f"received invalid webhook response: {error}") from None
    if not isinstance(patch, list):
        raise WebhookFailed("received invalid webhook response: response.patch is no list")
    return Verdict(patch, warnings)


def patched(attributes: Attributes, patch: list[Any], name: str) -> Object:
    """The object after a webhook's patch: of the right structure, without unknown fields, with defaults."""
    kind = object_kind(attributes.kind, attributes.subresource)
    try:
        changed = apply_json_patch(attributes.obj, patch)
        decoded, _ = decode(changed, schema_of(kind), field_validation="Ignore", kind=kind.resource.kind)
    except errors.ApiError as error:
        why = f"failed calling webhook {quoted(name)}: {error.message}"
        raise errors.InternalError.because(why) from None
    fresh = copy_object(normalized(decoded, kind))
    kind.default(fresh)
    return fresh


def quoted(text: str) -> str:
    """As Go's %q."""
    return f'"{text}"'
