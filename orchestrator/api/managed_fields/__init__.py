"""Field ownership (`metadata.managedFields`) and the merge of server-side apply; pure.

`field_set` is the algebra of sets of fields, `structure` says what an object of a kind is made of; along it
`comparing` finds what an update changed, `applied` and `checking` what a configuration sets and whether it may,
`merging` lays it over an object. `entries` reads and writes the entries of managers, `ownership` puts all together: who
owns what after an update, and what an object looks like after an apply. Mirrors sigs.k8s.io/structured-merge-diff and
k8s.io/apimachinery/pkg/util/managedfields at v1.36. Source: KEP-555 and the "Server-Side Apply" page.
"""

from orchestrator.api.managed_fields.entries import ManagerId
from orchestrator.api.managed_fields.ownership import (
    Applied,
    ApplyConflict,
    FieldConflict,
    Scope,
    conflict_error,
    plan_apply,
    plan_update,
    settle,
)
from orchestrator.api.managed_fields.structure import NotTyped, Structure, structure_of

__all__ = [
    "Applied",
    "ApplyConflict",
    "FieldConflict",
    "ManagerId",
    "NotTyped",
    "Scope",
    "Structure",
    "conflict_error",
    "plan_apply",
    "plan_update",
    "settle",
    "structure_of",
]
