"""The one tree of errors of the Kubernetes API.

Every error that a client may see is an `ApiError`; each class maps to one HTTP code and one
`Status.reason`, as `metav1.Status` defines them (API conventions, "Error codes" and "Response
Status Kind")::

    ApiError
    ├── BadRequest 400                 ├── Invalid 422 (carries field causes)
    ├── Unauthorized 401               ├── TooManyRequests 429 (carries a retry time)
    ├── Forbidden 403                  ├── InternalError 500
    ├── NotFound 404                   ├── ServiceUnavailable 503
    ├── MethodNotAllowed 405           └── Timeout 504
    ├── NotAcceptable 406
    ├── AlreadyExists 409
    ├── Conflict 409
    ├── Expired 410 (an old resource version or continue token)
    ├── Gone 410
    ├── RequestEntityTooLarge 413
    └── UnsupportedMediaType 415

Raised by the API server's core, returned by every transport of the client, so that a controller
handles `Conflict` in the same way whether the API is in process or remote.
"""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct


class Cause(Struct, frozen=True):
    """One entry of `Status.details.causes`: which field is wrong, and why."""

    reason: str
    """A `metav1.CauseType`: `FieldValueRequired`, `FieldValueInvalid`, ..."""
    message: str
    field: str = ""

    def to_json(self) -> dict[str, str]:
        fields = {"reason": self.reason, "message": self.message, "field": self.field}
        return {name: value for name, value in fields.items() if value}


class ApiError(Exception):
    """An answer of the API that is a failure: an HTTP code, a reason and a message."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"
    has_details: ClassVar[bool] = True
    """Whether the Status carries `details` even when they are empty."""

    def __init__(
        self,
        message: str,
        *,
        group: str = "",
        kind: str = "",
        name: str = "",
        uid: str = "",
        causes: tuple[Cause, ...] = (),
        retry_after_seconds: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.group = group
        self.kind = kind
        self.name = name
        self.uid = uid
        self.causes = causes
        self.retry_after_seconds = retry_after_seconds
        self.continue_token = ""
        """Where a client that got `Expired` for a page may go on (`metadata.continue` of the Status)."""

    def details(self) -> dict[str, Any]:
        """`Status.details`, without the empty fields."""
        details: dict[str, Any] = {}
        if self.name:
            details["name"] = self.name
        if self.group:
            details["group"] = self.group
        if self.kind:
            details["kind"] = self.kind
        if self.uid:
            details["uid"] = self.uid
        if self.causes:
            details["causes"] = [cause.to_json() for cause in self.causes]
        if self.retry_after_seconds:
            details["retryAfterSeconds"] = self.retry_after_seconds
        return details

    def to_status(self) -> dict[str, Any]:
        """The `metav1.Status` object that stands for this error on the wire."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self.continue_token} if self.continue_token else {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        details = self.details()
        if details or self.has_details:
            status["details"] = details
        status["code"] = self.code
        return status


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"
    has_details = False


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"
    has_details = False


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"
    has_details = False


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    code, reason = 409, "Conflict"


class Expired(ApiError):
    code, reason = 410, "Expired"
    has_details = False


class Gone(ApiError):
    code, reason = 410, "Gone"
    has_details = False


class RequestEntityTooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"
    has_details = False


class RouteNotAcceptable(NotAcceptable):
    """What routes the requests for built-in kinds refuses, before anybody looks at them."""

    has_details = True


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"
    has_details = False


class RouteUnsupportedMediaType(UnsupportedMediaType):
    """The same of a body's type."""

    has_details = True


class Invalid(ApiError):
    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    code, reason = 500, "InternalError"

    @classmethod
    def because(cls, why: str) -> InternalError:
        """What went wrong inside, in the words and with the cause of `apierrors.NewInternalError`."""
        return cls(f"Internal error occurred: {why}", causes=(Cause("", why),))


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    code, reason = 504, "Timeout"


_BY_REASON: dict[str, type[ApiError]] = {
    cls.reason: cls
    for cls in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable,
        AlreadyExists, Conflict, Expired, Gone, RequestEntityTooLarge, UnsupportedMediaType,
        Invalid, TooManyRequests, InternalError, ServiceUnavailable, Timeout,
    )
}  # fmt: skip

_BY_CODE: dict[int, type[ApiError]] = {
    400: BadRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound, 405: MethodNotAllowed,
    406: NotAcceptable, 409: Conflict, 410: Expired, 413: RequestEntityTooLarge,
    415: UnsupportedMediaType, 422: Invalid, 429: TooManyRequests, 500: InternalError,
    503: ServiceUnavailable, 504: Timeout,
}  # fmt: skip


def from_status(status: dict[str, Any]) -> ApiError:
    """The error that a `metav1.Status` of a failed request stands for (the inverse of `to_status`)."""
    code = int(status.get("code") or 500)
    cls = _BY_REASON.get(status.get("reason") or "") or _BY_CODE.get(code) or InternalError
    details = status.get("details") or {}
    causes = tuple(
        Cause(c.get("reason", ""), c.get("message", ""), c.get("field", "")) for c in details.get("causes") or ()
    )
    return cls(
        status.get("message") or f"the server answered {code}",
        group=details.get("group") or "",
        kind=details.get("kind") or "",
        name=details.get("name") or "",
        uid=details.get("uid") or "",
        causes=causes,
        retry_after_seconds=int(details.get("retryAfterSeconds") or 0),
    )


def not_found(group: str, resource: str, name: str) -> NotFound:
    """`pods "a" not found`; `details.kind` is the *resource*, as kube-apiserver fills it."""
    return NotFound(f'{_qualified(group, resource)} "{name}" not found', group=group, kind=resource, name=name)


def method_not_allowed() -> MethodNotAllowed:
    """405, in kube-apiserver's words."""
    return MethodNotAllowed("the server does not allow this method on the requested resource")


def already_exists(group: str, resource: str, name: str) -> AlreadyExists:
    """`pods "a" already exists`."""
    return AlreadyExists(
        f'{_qualified(group, resource)} "{name}" already exists', group=group, kind=resource, name=name
    )


def generated_name_exists(group: str, resource: str, name: str) -> AlreadyExists:
    """`pods "a-x7k2p" already exists, the server was not able to generate a unique name for the object`."""
    return AlreadyExists(
        f'{_qualified(group, resource)} "{name}" already exists,'
        " the server was not able to generate a unique name for the object",
        group=group,
        kind=resource,
        name=name,
        retry_after_seconds=1,
    )


def conflict(group: str, resource: str, name: str, why: str) -> Conflict:
    """`Operation cannot be fulfilled on pods "a": <why>`."""
    return Conflict(
        f'Operation cannot be fulfilled on {_qualified(group, resource)} "{name}": {why}',
        group=group,
        kind=resource,
        name=name,
    )


def forbidden(group: str, resource: str, name: str, why: str) -> Forbidden:
    """`pods "a" is forbidden: <why>`, or `pods is forbidden: <why>` without a name."""
    what = f'{_qualified(group, resource)} "{name}"' if name else _qualified(group, resource)
    return Forbidden(f"{what} is forbidden: {why}", group=group, kind=resource, name=name)


def invalid(group: str, kind: str, name: str, causes: list[Cause]) -> Invalid:
    """`Pod "a" is invalid: <causes>`; `details.kind` is the *kind* here."""
    lines = list(dict.fromkeys(f"{c.field}: {c.message}" for c in causes))
    if len(lines) > 1:
        body = "[" + ", ".join(lines) + "]"
    else:
        body = lines[0] if lines else ""
    message = f'{_qualified(group, kind)} "{name}" is invalid: {body}'
    return Invalid(message, group=group, kind=kind, name=name, causes=tuple(causes))


def _qualified(group: str, resource_or_kind: str) -> str:
    return f"{resource_or_kind}.{group}" if group else resource_or_kind
