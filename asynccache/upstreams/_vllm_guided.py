"""The ``guided_*`` fields of vLLM before 0.12, said as ``structured_outputs``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asynccache._errors import InvalidRequest

__all__ = ["translated"]

_CONSTRAINTS: Final = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
}
_WHITESPACE: Final = "guided_whitespace_pattern"
_BACKEND: Final = "guided_decoding_backend"
_CONSTRAINING_FORMATS: Final = frozenset({"json_object", "json_schema", "structural_tag"})


def translated(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body as a server of today understands it; the very body when there is nothing to say anew.

    From 0.12 on vLLM ignores ``guided_*`` in silence and answers without constraint, so nothing of that
    name is ever sent. ``guided_decoding_backend`` is left out: who enforces a constraint has become the
    server's choice. A field that is null is no constraint.

    Raises:
        InvalidRequest: naming the field, where there are several constraints, none for a pattern to
            belong to, an option of the backend, or a field of that family that is not known.
    """
    guided = [name for name in body if name.startswith("guided_")]
    if not guided:
        return body
    made = {name: value for name, value in body.items() if not name.startswith("guided_")}
    given = {name: body[name] for name in guided if body[name] is not None}
    _check_backend(given.pop(_BACKEND, None))
    if not given:
        return made
    pattern = given.pop(_WHITESPACE, None)
    if unknown := next((name for name in given if name not in _CONSTRAINTS), None):
        raise InvalidRequest(unknown, f"unknown; known: {', '.join(_CONSTRAINTS)}")
    if not given:
        raise InvalidRequest(_WHITESPACE, "stands beside no guided_json; use structured_outputs")
    name, *others = given
    if others:
        raise InvalidRequest(others[0], f"stands beside {name}; only one constraint can be kept")
    _check_alone(name, body)
    outputs = {_CONSTRAINTS[name]: given[name]}
    if pattern is not None:
        outputs["whitespace_pattern"] = pattern
    return {**made, "structured_outputs": outputs}


def _check_backend(given: object) -> None:
    """Let pass the name of a backend; its options, written behind a colon, changed the answer."""
    if given is not None and (not isinstance(given, str) or ":" in given):
        raise InvalidRequest(_BACKEND, "its options cannot be translated; use structured_outputs")


def _check_alone(name: str, body: Mapping[str, Any]) -> None:
    if body.get("structured_outputs") is not None:
        raise InvalidRequest(name, "stands beside structured_outputs; give one of the two")
    form = body.get("response_format")
    if isinstance(form, Mapping) and form.get("type") in _CONSTRAINING_FORMATS:
        raise InvalidRequest(name, "stands beside a response_format that constrains too; give one of the two")
