"""Checks the expressions of admission: what they may name, and which types the parts of an object have.

The variables of a policy have the types of their expressions. Mirrors k8s.io/apiserver/pkg/admission/plugin/cel
(compilation) and its TypeChecker (KEP-3488, "Type checking").
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from orchestrator.api.structural.cel.environment import DoesNotCompile, checked_extensions, clean
from orchestrator.api.structural.cel.library import OPAQUE_PACKAGE
from orchestrator.api.structural.cel.macros import expand
from orchestrator.api.structural.cel.published import NAMESPACE_NODE, REQUEST_NODE, published_node
from orchestrator.api.structural.cel.types import TypeRegistry
from orchestrator.api.structural.values import Node

_VARIABLE = re.compile(r"undeclared reference to 'variables\.(\w+)' \(in container ''\)")


class AdmissionTypes:
    """The types of what an expression sees; `obj` and `params` are None where they are not known."""

    def __init__(self, *, obj: Node | None = None, params: Node | None = None) -> None:
        from cel_expr_python import cel

        self._cel = cel
        registry = TypeRegistry(published_node)
        seen = registry.type_of(obj) if obj is not None else cel.Type.DYN
        self._types = {
            "object": seen,
            "oldObject": seen,
            "params": registry.type_of(params) if params is not None else cel.Type.DYN,
            "request": registry.type_of(REQUEST_NODE),
            "namespaceObject": registry.type_of(NAMESPACE_NODE),
            "authorizer": cel.Type(f"{OPAQUE_PACKAGE}.Authorizer"),
            "authorizer.requestResource": cel.Type(f"{OPAQUE_PACKAGE}.ResourceCheck"),
        }
        self._pool = registry.pool()
        self._extensions = checked_extensions()

    def environment(self, names: Collection[str]) -> Environment:
        """The environment of expressions that see these variables."""
        return Environment(self._cel, self._pool, self._extensions, {name: self._types[name] for name in names})


class Environment:
    """Compiles expressions; grows by the variables of a policy, one after the other."""

    def __init__(self, cel: Any, pool: Any, extensions: Sequence[Any], types: Mapping[str, Any]) -> None:
        self._cel = cel
        self._pool = pool
        self._extensions = extensions
        self._types = dict(types)
        self._environment: Any = None

    def without(self, *names: str) -> Environment:
        """The same environment where these variables cannot be seen."""
        types = {name: value for name, value in self._types.items() if name not in names}
        return Environment(self._cel, self._pool, self._extensions, types)

    def add_variable(self, name: str, expression: str) -> None:
        """Make `variables.<name>` known, with the type of its expression; dyn when that does not compile."""
        try:
            value = self.compile(expression)
        except DoesNotCompile:
            value = self._cel.Type.DYN
        self._types[f"variables.{name}"] = value
        self._environment = None

    def compile(self, expression: str) -> Any:
        """The type of an expression's value; DoesNotCompile with the compiler's message."""
        if self._environment is None:
            self._environment = self._cel.NewEnv(self._pool, variables=self._types, extensions=self._extensions)
        try:
            return self._environment.compile(expand(expression)).return_type()
        except RuntimeError as error:
            raise DoesNotCompile(_VARIABLE.sub(r"undefined field '\1'", clean(str(error)))) from None


@lru_cache(maxsize=1)
def untyped() -> AdmissionTypes:
    """For when a policy or webhook is written: which kinds it will be asked about is not known then."""
    return AdmissionTypes()
