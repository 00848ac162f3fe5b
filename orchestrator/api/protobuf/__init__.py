"""Kubernetes' protobuf encoding: the form in which clients and controllers written in Go talk by default.

`decode_protobuf` and `encode_protobuf` translate between an object as JSON has it and its envelope on the
wire; `encode_watch_frame` writes one event of a watch. Nothing here is imported before the first
protobuf request, and each message is compiled when it is first met.

envelope   the four magic bytes, `runtime.Unknown`, watch frames, which message a kind is
messages   messages from the table `fields.json`, compiled to readers and writers
values     types with a JSON form of their own: times, quantities, int-or-string, raw JSON
wire       varints and tags
"""

from __future__ import annotations

from orchestrator.api.protobuf.envelope import decode_protobuf, encode_protobuf, encode_watch_frame

__all__ = ["decode_protobuf", "encode_protobuf", "encode_watch_frame"]
