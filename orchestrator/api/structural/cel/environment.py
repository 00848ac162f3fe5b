"""CEL environments: one that runs expressions, and one per schema node that checks their types.

The CEL library (cel-expr-python, the official wrapper of cel-cpp) is imported when the first rule is met.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from orchestrator.api.structural.cel.library import declarations
from orchestrator.api.structural.cel.macros import expand
from orchestrator.api.structural.cel.types import TypeRegistry
from orchestrator.api.structural.values import Node

_PROGRAMS_MAX = 8192
_STRUCT = re.compile(r" not found in struct '[^']*'")
_LINE = re.compile(r"^(ERROR: <input>:)(\d+)(:)", re.MULTILINE)


class DoesNotCompile(Exception):
    """An expression is not valid; the text is the compiler's."""


class EvaluationFailed(Exception):
    """An expression has no value for these inputs; the text says why."""


class OutOfBudget(EvaluationFailed):
    """An expression loops more often over these inputs than the CEL library lets it: 10,000 times."""


def _extensions(cel: Any, *, is_checked: bool) -> list[Any]:
    from cel_expr_python.ext.ext_bindings import ExtBindings
    from cel_expr_python.ext.ext_optional import ExtOptional
    from cel_expr_python.ext.ext_strings import ExtStrings

    library = cel.CelExtension("kubernetes", declarations(cel, is_checked=is_checked))
    return [ExtOptional(), ExtStrings(), ExtBindings(), library]


@lru_cache(maxsize=1)
def _runtime_extensions() -> list[Any]:
    # One set for all environments that run expressions: the library registers each function once per process.
    from cel_expr_python import cel

    return _extensions(cel, is_checked=False)


@lru_cache(maxsize=1)
def checked_extensions() -> list[Any]:
    """The functions for environments that check types."""
    from cel_expr_python import cel

    return _extensions(cel, is_checked=True)


@lru_cache(maxsize=1)
def _runtime() -> Any:
    from cel_expr_python import cel

    dyn = cel.Type.DYN
    variables = {"self": dyn, "oldSelf": dyn, "__has_old": cel.Type.BOOL, "__old": dyn}
    return cel.NewEnv(variables=variables, extensions=_runtime_extensions())


def _optional(rule: str) -> str:
    return f"cel.bind(oldSelf, __has_old ? optional.of(__old) : optional.none(),\n{rule}\n)"


@lru_cache(maxsize=_PROGRAMS_MAX)
def _program(expression: str, optional_old_self: bool) -> Any:
    text = _optional(expand(expression)) if optional_old_self else expand(expression)
    try:
        # Unchecked: types are those of the values; what the schema says was checked with the definition.
        return _runtime().compile(text, disable_check=True)
    except RuntimeError as error:
        raise DoesNotCompile(clean(str(error))) from None


def evaluate(expression: str, variables: dict[str, Any], *, optional_old_self: bool = False) -> Any:
    """The plain value of an expression; DoesNotCompile or EvaluationFailed."""
    return _value(_program(expression, optional_old_self), variables)


@lru_cache(maxsize=16)
def _untyped(names: tuple[str, ...]) -> Any:
    from cel_expr_python import cel

    return cel.NewEnv(variables=dict.fromkeys(names, cel.Type.DYN), extensions=_runtime_extensions())


@lru_cache(maxsize=_PROGRAMS_MAX)
def compile_untyped(expression: str, names: tuple[str, ...]) -> Any:
    """An expression over variables of unknown types (admission policies, match conditions); DoesNotCompile."""
    try:
        return _untyped(names).compile(expand(expression))
    except RuntimeError as error:
        raise DoesNotCompile(clean(str(error))) from None


def evaluate_untyped(expression: str, variables: dict[str, Any]) -> Any:
    """The plain value of an expression over these variables; DoesNotCompile or EvaluationFailed."""
    return _value(compile_untyped(expression, tuple(sorted(variables))), variables)


def _value(program: Any, variables: dict[str, Any]) -> Any:
    try:
        result = program.eval(data=variables)
    except RuntimeError as error:
        if "Iteration budget exceeded" not in str(error):
            raise
        raise OutOfBudget("operation cancelled: actual cost limit exceeded") from None
    if result.type().name() == "ERROR":
        raise EvaluationFailed(_evaluation_error(str(result.value())))
    return result.plain_value()


def _evaluation_error(text: str) -> str:
    text = re.sub(r"^[A-Z_]+: ", "", text)
    if match := re.fullmatch(r'Key not found in map : "?(.*?)"?', text):
        return f"no such key: {match[1]}"
    if match := re.fullmatch(r"Index error: index=(-?\d+) size=\d+", text):
        return f"index out of bounds: {match[1]}"
    if text == "divide by zero":
        return "division by zero"
    if text.startswith("No matching overloads found"):
        return "no such overload"
    return text


def clean(text: str) -> str:
    """The compiler's message, in the words of cel-go, which kube-apiserver uses."""
    text = text.removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
    return _STRUCT.sub("", text)


class Checker:
    """Checks the expressions of one schema node, and says which of them look at `oldSelf`."""

    def __init__(self, schema: Node, *, is_resource: bool) -> None:
        from cel_expr_python import cel

        registry = TypeRegistry()
        self_type = registry.type_of(schema, is_resource=is_resource)
        self.is_visible = self_type is not None
        """False for nodes that CEL has no type for, such as objects of unknown structure."""
        self._self_type = self_type
        self._pool = registry.pool()
        self._cel = cel
        self._extensions = checked_extensions()
        self._environments: dict[str, Any] = {}

    def _environment(self, form: str) -> Any:
        if form not in self._environments:
            variables = {"self": self._self_type}
            if form == "old":
                variables["oldSelf"] = self._self_type
            elif form == "optional":
                variables |= {"__old": self._self_type, "__has_old": self._cel.Type.BOOL}
            self._environments[form] = self._cel.NewEnv(self._pool, variables=variables, extensions=self._extensions)
        return self._environments[form]

    def compile(self, expression: str, *, optional_old_self: bool = False) -> Any:
        """The checked expression; DoesNotCompile with the compiler's message."""
        try:
            if optional_old_self:
                return self._environment("optional").compile(_optional(expand(expression)))
            return self._environment("old").compile(expand(expression))
        except RuntimeError as error:
            text = clean(str(error))
            if optional_old_self:
                text = _LINE.sub(lambda match: f"{match[1]}{int(match[2]) - 1}{match[3]}", text)
            raise DoesNotCompile(text) from None

    def uses_old_self(self, expression: str) -> bool:
        """Whether an expression that compiles needs `oldSelf`."""
        if "oldSelf" not in expression:
            return False
        try:
            self._environment("new").compile(expand(expression))
        except RuntimeError:
            return True
        return False
