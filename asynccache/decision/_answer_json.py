"""Answers that are JSON documents. Pure."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import orjson

from asynccache.decision._answer_text import says

__all__ = ["document", "prose_that_differs"]

_FENCED: Final = re.compile(r"\A\s*(?:```|~~~)\w*\s*\n(.*?)\n?\s*(?:```|~~~)\s*\Z", re.DOTALL)
_DEEPEST: Final = 64
_PROSE: Final = 5
"""Words from which a string is read as prose, which may be worded in another way."""
_CLOSE: Final = 1e-6
"""Relative difference of numbers that are the same."""


def document(text: str) -> Any:
    """The object or array that an answer is, fenced or not; None when it is none."""
    fenced = _FENCED.match(text)
    text = (fenced[1] if fenced else text).strip()
    if not text.startswith(("{", "[")):
        return None
    try:
        return orjson.loads(text)
    except ValueError:
        return None


def prose_that_differs(one: Any, other: Any) -> list[tuple[str, str]] | None:
    """Pairs of prose in which two documents differ; None when they differ in anything else.

    The order of an object's fields is free, that of an array is not. Numbers may differ by one part in
    a million, strings in case, white space and punctuation at their ends.
    """
    found: list[tuple[str, str]] = []
    return found if _alike(one, other, found, 0) else None


def _alike(one: Any, other: Any, prose: list[tuple[str, str]], depth: int) -> bool:
    if depth > _DEEPEST:
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            _alike(value, other[name], prose, depth + 1) for name, value in one.items()
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            _alike(mine, theirs, prose, depth + 1) for mine, theirs in zip(one, other, strict=True)
        )
    if isinstance(one, str) and isinstance(other, str):
        if says(one) == says(other) and (says(one) or one == other):
            return True
        if min(one.count(" "), other.count(" ")) + 1 < _PROSE:
            return False
        prose.append((one, other))
        return True
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=1e-12)
    return False
