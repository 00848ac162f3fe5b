"""Conversion of custom resources by webhook (`spec.conversion.strategy: Webhook`).

Owns the ConversionReview and what an answer may change. Mirrors the webhook converter of
k8s.io/apiextensions-apiserver/pkg/apiserver/conversion.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.apiserver.webhook_client import WebhookClient, WebhookFailed

_REVIEW_VERSIONS = ("v1", "v1beta1")


class WebhookConverter:
    """Asks one webhook for other versions of objects of one definition."""

    def __init__(self, definition: Object, client: WebhookClient) -> None:
        spec = definition["spec"]
        webhook = spec["conversion"]["webhook"]
        self._kind = f"{spec['group']}/%s, Kind={spec['names']['kind']}"
        offered = webhook.get("conversionReviewVersions") or ()
        self._review_version = next((version for version in offered if version in _REVIEW_VERSIONS), "v1")
        self._config = webhook["clientConfig"]
        self._client = client

    async def convert(self, objects: Sequence[Object], api_version: str) -> list[Object]:
        """The objects in another version; those that have it already come back as they are."""
        waiting = [obj for obj in objects if obj.get("apiVersion") != api_version]
        if not waiting:
            return list(objects)
        converted = iter(await self._ask(waiting, api_version))
        return [obj if obj.get("apiVersion") == api_version else next(converted) for obj in objects]

    async def _ask(self, objects: list[Object], api_version: str) -> list[Object]:
        what = self._kind % str(objects[0].get("apiVersion") or "").rpartition("/")[2]
        uid = str(uuid.uuid4())
        request = {"uid": uid, "desiredAPIVersion": api_version, "objects": objects}
        review_version = f"apiextensions.k8s.io/{self._review_version}"
        try:
            review = {"kind": "ConversionReview", "apiVersion": review_version, "request": request}
            answer = await self._client.post(self._config, review)
            response = _checked_response(answer, review_version, uid)
        except WebhookFailed as error:
            raise errors.InternalError(f"conversion webhook for {what} failed: {error}") from error
        converted = response.get("convertedObjects")
        if not isinstance(converted, list) or len(converted) != len(objects):
            count = len(converted) if isinstance(converted, list) else 0
            raise errors.InternalError(
                f"conversion webhook for {what} returned {count} objects, expected {len(objects)}"
            )
        return [
            _accepted(what, position, original, result, api_version)
            for position, (original, result) in enumerate(zip(objects, converted, strict=True))
        ]


def _checked_response(answer: Object, review_version: str, uid: str) -> dict[str, Any]:
    if answer.get("kind") != "ConversionReview" or answer.get("apiVersion") != review_version:
        found = f"{answer.get('apiVersion')}, Kind={answer.get('kind')}"
        raise WebhookFailed(f"expected webhook response of {review_version}, Kind=ConversionReview, got {found}")
    response = answer.get("response")
    if not isinstance(response, dict):
        raise WebhookFailed("no response provided")
    if response.get("uid") != uid:
        raise WebhookFailed(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    result = response.get("result") or {}
    if result.get("status") != "Success":
        if result.get("status") != "Failure":
            raise WebhookFailed(f'response.result.status was "{result.get("status") or ""}", not "Success"')
        raise WebhookFailed(result.get("message") or "an error on the server")
    return response


def _accepted(what: str, position: int, original: Object, result: Any, api_version: str) -> Object:
    """One converted object; of metadata a webhook may change labels and annotations only."""

    def refused(why: str) -> errors.InternalError:
        return errors.InternalError(f"conversion webhook for {what} returned {why}")

    if not isinstance(result, dict) or result.get("apiVersion") != api_version:
        got = result.get("apiVersion") if isinstance(result, dict) else result
        raise refused(
            f"invalid converted object at index {position}: invalid apiVersion (got {got}, want {api_version})"
        )
    if result.get("kind") != original.get("kind"):
        raise refused(f"invalid converted object at index {position}: invalid kind (got {result.get('kind')})")
    given, before = result.get("metadata"), original.get("metadata") or {}
    if not isinstance(given, dict):
        raise refused(f"invalid metadata of object at index {position}: missing metadata")
    for key in ("name", "namespace", "uid"):
        if (given.get(key) or "") != (before.get(key) or ""):
            raise refused(f"invalid metadata of object at index {position}: {key} must not change")
    metadata = dict(before)
    for key in ("labels", "annotations"):
        if given.get(key):
            metadata[key] = given[key]
        else:
            metadata.pop(key, None)
    rest = {key: value for key, value in result.items() if key not in ("kind", "apiVersion", "metadata")}
    return {"kind": original["kind"], "apiVersion": api_version, "metadata": metadata, **rest}
