"""The two answers to a patch that cannot be applied which no other request gets.

Owns their place in the tree of errors. Mirrors what k8s.io/apiserver/pkg/endpoints/handlers/patch.go
returns: a JSON patch that does not apply is a 422 without any detail, an inapplicable strategic merge
patch mostly a 500 without a reason.
"""

from __future__ import annotations

from orchestrator.api.errors import ApiError, Invalid


class PatchRejected(Invalid):
    """422: the operations do not apply to the object. The real server does not tell the client why."""

    def __init__(self, why: str) -> None:
        super().__init__("the server rejected our request due to an error in our request")
        self.why = why
        """The cause, for logs and tests."""


class PatchFailed(ApiError):
    """500 without a reason: the patch contradicts the structure of the kind, such as a missing merge key."""

    code, reason = 500, ""
    has_details = False
