"""What the doors of all dialects check, each fault named by its field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, Final

from asynccache._errors import InvalidRequest

__all__ = [
    "check_body",
    "check_count",
    "check_json",
    "check_kind",
    "check_limit",
    "check_numbers",
    "check_stop",
    "is_whole",
    "mismatch",
]

_DEEPEST: Final = 200
"""Levels of nesting; JSON encoders stop a little later (orjson at 254)."""
_FAULTLESS: Final = (str, int, type(None))
"""What can have no fault, and is most of a body: passed over before its path is spelled out."""


def mismatch(field: str, words: str, value: object) -> InvalidRequest:
    """The error for a field of a wrong type; ``words`` say which was expected."""
    return InvalidRequest(field, f"expected {words}, got {type(value).__name__}")


def check_body(body: Any) -> None:
    """Raise InvalidRequest unless it is a mapping of what JSON can carry."""
    if not isinstance(body, Mapping):
        raise mismatch("body", "a mapping", body)
    check_json(body)


def check_json(value: Any, path: str = "body", depth: int = 0) -> None:
    """Raise InvalidRequest for a number that is not finite, a key that is no string, or too deep a nest."""
    if depth > _DEEPEST:
        raise InvalidRequest(path, "nested too deeply")
    if isinstance(value, (dict, Mapping)):
        for name, item in value.items():
            if not isinstance(name, str):
                raise InvalidRequest(path, f"keys must be strings, got {type(name).__name__}")
            if depth == _DEEPEST or not isinstance(item, _FAULTLESS):
                check_json(item, name if depth == 0 else f"{path}.{name}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            if depth == _DEEPEST or not isinstance(item, _FAULTLESS):
                check_json(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, float) and not isfinite(value):
        raise InvalidRequest(path, "must be finite")


def check_kind(body: Mapping[str, Any], name: str, kind: type, words: str) -> None:
    """Raise InvalidRequest unless the field is absent, null or of that type."""
    value = body.get(name)
    if value is not None and not isinstance(value, kind):
        raise mismatch(name, words, value)


def check_numbers(body: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise InvalidRequest unless each of these fields is absent, null or a number."""
    for name in names:
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise mismatch(name, "a number", value)


def is_whole(value: Any) -> bool:
    """Whether it is a whole number; JSON's 2.0 is 2, and true is none."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def check_count(name: str, value: Any) -> None:
    """Raise InvalidRequest unless it is a whole number of 1 or more."""
    if not is_whole(value):
        raise mismatch(name, "a whole number", value)
    if value < 1:
        raise InvalidRequest(name, f"must be positive, got {value!r}")


def check_limit(name: str, value: Any) -> None:
    """Raise InvalidRequest unless it is a whole number of 0 or more."""
    if not is_whole(value):
        raise mismatch(name, "a whole number", value)
    if value < 0:
        raise InvalidRequest(name, f"must not be negative, got {value!r}")


def check_stop(stop: Any) -> None:
    """Raise InvalidRequest unless it can be the ``stop`` of OpenAI's protocols."""
    if stop is None or isinstance(stop, str):
        return
    if not isinstance(stop, (list, tuple)):
        raise mismatch("stop", "a string, a list of strings or null", stop)
    for index, item in enumerate(stop):
        if not isinstance(item, str):
            raise mismatch(f"stop[{index}]", "a string", item)
