"""Which results can be stored as JSON and come back the same. Pure."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

import orjson

__all__ = ["from_json", "to_json"]

MAX_DEPTH: Final = 200
"""Levels of nesting; below orjson's own limit of 254, and reached only by cycles."""

_INT64: Final = range(-(2**63), 2**63)


def to_json(value: object) -> bytes | None:
    """The value as JSON; None when reading it back would give another value or another type."""
    if not _faithful(value, 0):
        return None
    try:
        return orjson.dumps(value)
    except TypeError:  # text with a lone surrogate
        return None


def from_json(body: bytes) -> Any:
    """What ``to_json`` wrote. Raises ValueError when it is no JSON."""
    return orjson.loads(body)


def _faithful(value: Any, depth: int) -> bool:
    # Exact types: what a subclass adds would be lost.
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return value in _INT64
    if kind is float:
        return isfinite(value)
    if depth > MAX_DEPTH:
        return False
    if kind is list:
        return all(_faithful(item, depth + 1) for item in value)
    if kind is dict:
        return all(type(key) is str and _faithful(item, depth + 1) for key, item in value.items())
    return False
