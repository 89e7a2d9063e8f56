"""A request's body, as far as it can be told from any other."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

__all__ = ["BodyFault", "parsed"]

_LONG_NUMBER: Final = re.compile(rb"[:,\[\s]-?[0-9]{19,}")
_INTEGERS: Final = range(-(2**63), 2**64)
"""Integers beyond these become floats when parsed, and several share one."""


class BodyFault(ValueError):
    """Why it cannot be; in words without content."""


def parsed(content: bytes) -> tuple[dict[str, Any], bool]:
    """The JSON object that ``content`` is, and whether it is all there.

    It is not when an integer is out of JSON's 64-bit range: two such bodies may be parsed alike, so neither
    may be answered from the cache.

    Raises:
        BodyFault: it is none.
    """
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise BodyFault("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BodyFault("the body must be a JSON object")
    if _LONG_NUMBER.search(content) is not None:  # rare; within a text it means nothing
        try:
            json.loads(content, parse_int=_check)
        except _OutOfRange:
            return body, False
    return body, True


class _OutOfRange(Exception):
    pass


def _check(digits: str) -> int:
    if len(digits) > 20 or int(digits) not in _INTEGERS:  # noqa: PLR2004  (more digits than any of them)
        raise _OutOfRange
    return 0
