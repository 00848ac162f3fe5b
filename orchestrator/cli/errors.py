"""What ends a client verb, as kubectl words it: errors of the command line, of the server, and how they are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.cli.flags import EXIT_ERROR

ERROR_BODY_BYTES_MAX: Final = 1 << 20


class CliError(Exception):
    """Something that ends the verb; the message is printed as it is."""

    def __init__(self, message: str, exit_code: int = EXIT_ERROR) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ServerError(CliError):
    """The server answered with a Status that is a failure."""

    def __init__(self, status: Mapping[str, Any], *, doing: str = "") -> None:
        super().__init__(error_text(status, doing=doing))
        self.status = status
        self.reason = str(status.get("reason") or "")
        self.code = int(status.get("code") or 0)

    def while_doing(self, doing: str) -> ServerError:
        """The same error with what was tried, e.g. `error when creating "web.yaml"`."""
        return ServerError(self.status, doing=doing)


def error_text(status: Mapping[str, Any], *, doing: str = "") -> str:
    """A Status as kubectl prints it."""
    message = str(status.get("message") or "")
    reason = status.get("reason") or ""
    details = status.get("details") or {}
    if reason == "Invalid" and details:
        what = "The request is invalid"
        if details.get("kind") or details.get("name"):
            what = f'The {details.get("kind", "")} "{details.get("name", "")}" is invalid'
        causes = [f"{cause.get('field', '')}: {cause.get('message', '')}" for cause in details.get("causes") or ()]
        distinct = list(dict.fromkeys(causes))
        if not distinct:
            return what if details.get("kind") or details.get("name") else f"{what}: {message}"
        if len(distinct) == 1:
            return f"{what}: {distinct[0]}"
        return "\n".join([f"{what}: ", *(f"* {cause}" for cause in distinct)])
    if reason == "Unauthorized" and not doing:
        return "error: You must be logged in to the server (Unauthorized)"
    text = f"{doing}: {message}" if doing else message
    return f"Error from server ({reason}): {text}" if reason else f"Error from server: {text}"


def status_of(code: int, content: bytes) -> dict[str, Any]:
    """The Status in an answer that is a failure, or one made from the HTTP code when it holds none."""
    try:
        status = json.loads(content[:ERROR_BODY_BYTES_MAX])
    except ValueError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return {"code": code, **status}
    text = content[:1000].decode(errors="replace").strip()
    return {"code": code, "message": text or f"the server answered with HTTP code {code}"}


def print_error(error: CliError) -> None:
    """One error on stderr, after what was printed on stdout before it."""
    sys.stdout.flush()
    print(error, file=sys.stderr)


def print_errors(errors: Sequence[CliError]) -> int:
    """What went wrong along the way, at the end; returns the exit code."""
    for error in errors:
        print_error(error)
    return EXIT_ERROR if errors else 0
