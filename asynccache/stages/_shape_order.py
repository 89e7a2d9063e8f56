"""Put what has no order of its own into one order: tools, the keys of their schemas, documents."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from math import isfinite
from typing import Any

import orjson

from asynccache._errors import InvalidRequest
from asynccache._keys import to_json

__all__ = ["by_hash", "canonical_tools"]


def canonical_tools(tools: Any) -> Any:
    """Tools sorted by name, the keys of every mapping in them sorted; equal ones are all kept.

    Lists in a schema (``required``, ``enum``, ``anyOf``) have an order that means something: it stays.

    Returns:
        A new list; the very object given when it is in order already, is no list, or cannot be sent.
    """
    raw = _raw(tools)
    if raw is None:
        return tools
    plain = orjson.loads(raw)
    ordered = sorted(plain, key=_place)
    made = orjson.dumps(ordered, option=orjson.OPT_SORT_KEYS)
    return tools if made == raw else orjson.loads(made)


def by_hash(documents: Any) -> Any:
    """Documents in an order that depends on nothing but themselves; None as in ``canonical_tools``."""
    raw = _raw(documents)
    if raw is None:
        return documents
    digests = [sha256(_sorted_json(document)).digest() for document in orjson.loads(raw)]
    order = sorted(range(len(digests)), key=digests.__getitem__)
    return documents if order == list(range(len(order))) else [documents[place] for place in order]


def _raw(items: Any) -> bytes | None:
    """A list as JSON, in the caller's own order; None for what is none, and for what JSON cannot carry."""
    if not isinstance(items, (list, tuple)) or not items:
        return None
    try:
        raw = to_json({"": items})
    except InvalidRequest:
        return None
    # A number that is not finite is written as null: it must reach the door as it is.
    if b"null" in raw and not _finite(items):
        return None
    return raw[len(b'{"":') : -len(b"}")]


def _finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_finite, value))
    return not isinstance(value, float) or isfinite(value)


def _place(tool: Any) -> tuple[str, bytes]:
    """Name first; canonical JSON tells tools of one name apart."""
    name: object = None
    if isinstance(tool, dict):
        function = tool.get("function")
        name = function.get("name") if isinstance(function, dict) else tool.get("name")
    return name if isinstance(name, str) else "", _sorted_json(tool)


def _sorted_json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
