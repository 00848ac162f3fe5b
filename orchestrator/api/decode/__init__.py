"""From the JSON of a request to the object that the API works with: unknown fields, nulls, types.

Owns what Go's decoder does to a request body at kube-apiserver v1.36: unknown fields are dropped and
named, nulls are unset fields, a value of another type refuses the request, quantities and times take
their canonical text, empty optional lists and maps vanish, as do zeros that mean unset. Never defaults, never
validates values.
Mirrors sigs.k8s.io/json (case-sensitive, strict errors collected) and, for custom resources, the pruning
of k8s.io/apiextensions-apiserver.

A body that needs no change is recognised by a compiled check that allocates nothing (`check`) and is returned as
it came; only otherwise does the slower walk run that copies and keeps paths (`walk`).
"""

from orchestrator.api.decode.bodies import FieldValidation, NotDecodable, decode, warnings_of
from orchestrator.api.decode.repeated import NOTHING_REPEATED, Repeated, find_duplicate_fields, in_document_order
from orchestrator.api.decode.times import is_canonical_micro_time

__all__ = [
    "NOTHING_REPEATED",
    "FieldValidation",
    "NotDecodable",
    "Repeated",
    "decode",
    "find_duplicate_fields",
    "in_document_order",
    "is_canonical_micro_time",
    "warnings_of",
]
