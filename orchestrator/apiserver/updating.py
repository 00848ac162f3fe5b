"""What an update may change, from one state of an object to the next; pure.

Mirrors rest.BeforeUpdate and the preconditions of kube-apiserver's generic store.
"""

from __future__ import annotations

import orjson

from orchestrator.api import errors
from orchestrator.api.decode import NotDecodable
from orchestrator.api.errors import Cause
from orchestrator.api.fields import immutable, quote
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object, copy_object
from orchestrator.api.patch.strategic import go_format
from orchestrator.api.patch.typed import conversion_problem
from orchestrator.apiserver import incoming
from orchestrator.apiserver.field_ownership import is_apply
from orchestrator.apiserver.patching import STRATEGIC_MERGE_PATCH
from orchestrator.apiserver.request import ApiRequest
from orchestrator.apiserver.store_errors import MODIFIED, storage_path


def names_version(request: ApiRequest) -> bool:
    """Whether a patch makes the version it was made for a precondition."""
    if request.verb != "patch" or not isinstance(request.body, dict):
        return False
    metadata = request.body.get("metadata")
    return isinstance(metadata, dict) and bool(metadata.get("resourceVersion"))


def check_preconditions(request: ApiRequest, kind: Kind, new: Object, old: Object) -> None:
    """Raise unless the object is still the one, and in the version, that the client means; Conflict or Invalid."""
    given, current = new["metadata"], old["metadata"]
    version = given.get("resourceVersion") or ""
    if version and version != current["resourceVersion"]:
        if not version.isdigit():
            raise errors.invalid(
                request.group,
                kind.resource.kind,
                request.name,
                [
                    Cause(
                        "FieldValueInvalid",
                        f'Invalid value: "{version}": strconv.ParseUint: parsing "{version}": invalid syntax',
                        "metadata.resourceVersion",
                    )
                ],
            )
        raise errors.conflict(request.group, request.plural, request.name, MODIFIED)
    if not version and not kind.unconditional_update and request.verb == "update":
        raise errors.invalid(
            request.group,
            kind.resource.plural,  # the real server names the resource, not the kind, in this one
            request.name,
            [
                Cause(
                    "FieldValueInvalid",
                    "Invalid value: 0: must be specified for an update",
                    "metadata.resourceVersion",
                )
            ],
        )
    uid = given.get("uid")
    if uid and uid != current["uid"]:
        if request.verb == "patch" and not is_apply(request):
            # Only an object that was sent whole makes its uid a precondition.
            raise errors.invalid(request.group, kind.resource.kind, request.name, [immutable("metadata.uid", uid)])
        raise errors.conflict(
            request.group,
            request.plural,
            request.name,
            f"StorageError: invalid object, Code: 4, Key: {storage_path(kind, request.namespace, request.name)},"
            " ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition:"
            f" {uid}, UID in object meta: {current['uid']}",
        )


def keep_all_but_status(kind: Kind, new: Object, old: Object) -> Object:
    """A status update changes `status`; of metadata at most what the kind allows."""
    kept = {key: value for key, value in old.items() if key not in ("status", "metadata")}
    metadata = dict(old["metadata"])
    for field in kind.status_metadata:
        if field in new["metadata"]:
            metadata[field] = new["metadata"][field]
        else:
            metadata.pop(field, None)
    managed = new["metadata"].get("managedFields")
    if managed is not None:
        metadata["managedFields"] = managed
    result: Object = {"kind": old["kind"], "apiVersion": old["apiVersion"], "metadata": metadata, **kept}
    if "status" in new:
        result["status"] = new["status"]
    return result


def carry(new: Object, old: Object, field: str) -> None:
    """Give the new state a field as the old one has it."""
    if field in old:
        new[field] = copy_object(old[field])
    else:
        new.pop(field, None)


def untouched(patched: Object, current: Object) -> Object:
    """What a patch took over as it was, besides type and metadata: the same values, not only equal ones."""
    return {
        key: value
        for key, value in patched.items()
        if value is current.get(key) and key not in ("kind", "apiVersion", "metadata")
    }


def fresh(obj: Object) -> Object:
    """A copy that may be changed everywhere but in managedFields, whose entries are replaced and never changed."""
    metadata = obj["metadata"]
    if "managedFields" not in metadata:
        return copy_object(obj)
    without = {key: value for key, value in metadata.items() if key != "managedFields"}
    copy = copy_object({**obj, "metadata": without})
    copy["metadata"]["managedFields"] = metadata["managedFields"]
    return copy


def differs_in_spec(kind: Kind, new: Object, old: Object) -> bool:
    """Whether an update changed more than metadata, and more than a status that has a subresource of its own."""
    keys = (new.keys() | old.keys()) - ({"metadata", "status"} if kind.has_status else {"metadata"})
    return any(new.get(key) != old.get(key) for key in keys)


def unusable_patch(request: ApiRequest, patched: Object, error: NotDecodable) -> errors.Invalid:
    """The 422 for a patch whose result is no object of the kind."""
    shown = orjson.dumps(dict(sorted(patched.items()))).decode()  # as Go prints a map
    detail = error.detail
    if request.content_type == STRATEGIC_MERGE_PATCH:
        shown = go_format(request.body)
        detail = conversion_problem(patched, incoming.schema_of(request.kind)) or detail
    cause = Cause("FieldValueInvalid", f"Invalid value: {quote(shown)}: {detail}", "patch")
    return errors.invalid("", "", "", [cause])
