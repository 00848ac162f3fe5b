"""`/statusz` and `/flagz`: what runs here since when, and with which options (KEP-4827, KEP-4828).

Plain text for people, or a versioned object for those whose Accept header names it in full. The key and the value
in a line of text are parted by another sign each time, as Kubernetes does it, so that nobody parses them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from aiohttp import web

from orchestrator.aiokit.clock import Clock, format_time
from orchestrator.api.objects import Object
from orchestrator.apiserver.http.encoding import encode_value
from orchestrator.apiserver.http.negotiation import JSON, YAML, Negotiated
from orchestrator.apiserver.http.plain_text import plain_error, plain_text
from orchestrator.apiserver.http.request import HttpRequest
from orchestrator.apiserver.http.server import HttpServer

GROUP = "config.k8s.io"
VERSIONS = ("v1beta1", "v1alpha1")
COMPONENT = "kube-apiserver"
PARTED_BY = (":", ": ", "=", " ")
WARNING = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is"
    " for debugging purposes only."
)


class ZPages:
    """Registers both pages with an HTTP server."""

    def __init__(
        self,
        http: HttpServer,
        *,
        version: Mapping[str, str],
        flags: Callable[[], Mapping[str, str]],
        paths: Callable[[], list[str]],
        clock: Clock,
    ) -> None:
        """`version` is the document at `/version`; `flags` are the options in effect, `paths` what `/` lists."""
        self._version = version
        self._flags = flags
        self._paths = paths
        self._clock = clock
        self._started = clock.now()
        http.paths["/statusz"] = self.statusz
        http.paths["/flagz"] = self.flagz

    async def statusz(self, request: HttpRequest) -> web.StreamResponse:
        """Start, version and paths of this server."""
        version, seconds = self._version, int((self._clock.now() - self._started).total_seconds())
        emulated = f"{version['emulationMajor']}.{version['emulationMinor']}"
        binary = version["gitVersion"].removeprefix("v").partition("+")[0]
        fields: Object = {
            "startTime": format_time(self._started),
            "uptimeSeconds": seconds,
            "goVersion": version["goVersion"],
            "binaryVersion": binary,
            "emulationVersion": emulated,
            "paths": sorted({f"/{path.split('/')[1]}" for path in self._paths()}),
        }
        lines = {
            "Started": self._started.strftime("%a %b %e %H:%M:%S UTC %Y"),
            "Up": f"{seconds // 3600} hr {seconds // 60 % 60:02d} min {seconds % 60:02d} sec",
            "Go version": version["goVersion"],
            "Binary version": binary,
            "Emulation version": emulated,
            "Paths": " ".join(fields["paths"]),
        }
        return _answer(request, "Statusz", f"{COMPONENT} statusz", fields, lines)

    async def flagz(self, request: HttpRequest) -> web.StreamResponse:
        """The options in effect, by name."""
        flags = dict(sorted(self._flags().items()))
        return _answer(request, "Flagz", f"{COMPONENT} flags", {"flags": flags}, flags)


def _answer(
    request: HttpRequest, kind: str, title: str, fields: Object, lines: Mapping[str, str]
) -> web.StreamResponse:
    accept = request.header("Accept") or "*/*"
    for clause in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in clause.split(";"))
        named = dict(parameter.partition("=")[::2] for parameter in parameters)
        if named.get("as") == kind.lower() and named.get("g") == GROUP and named.get("v") in VERSIONS:
            if media_type not in (JSON, YAML):
                continue
            value = {
                "kind": kind,
                "apiVersion": f"{GROUP}/{named['v']}",
                "metadata": {"name": COMPONENT},
                **fields,
            }
            body = encode_value(value, Negotiated(media_type))
            return web.Response(body=body, headers={"Content-Type": media_type})
        if media_type in ("text/plain", "text/*", "*/*") and named.get("charset", "utf-8") == "utf-8":
            sign = random.choice(PARTED_BY)
            text = "\n".join(f"{name}{sign}{value}" for name, value in lines.items())
            return plain_text(f"\n{title}\n{WARNING}\n\n{text}\n")
    offered = ", ".join(("text/plain", *(f"{one};v={VERSIONS[0]};g={GROUP};as={kind}" for one in (JSON, YAML))))
    return plain_error(406, f"media type not acceptable, must be one of: {offered}")
