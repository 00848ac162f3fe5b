"""Failures as the wire shows them."""

from __future__ import annotations

from orchestrator.api.errors import Cause, InternalError, from_status


def test_an_internal_error_names_its_cause() -> None:
    """Source: apimachinery/pkg/api/errors `NewInternalError`; empty fields are left out."""
    assert InternalError.because("no room").to_status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "Internal error occurred: no room",
        "reason": "InternalError",
        "details": {"causes": [{"message": "no room"}]},
        "code": 500,
    }


def test_an_error_survives_the_wire() -> None:
    error = InternalError("broken", name="p", kind="pods", causes=(Cause("FieldValueInvalid", "no", "spec"),))
    assert from_status(error.to_status()).to_status() == error.to_status()
