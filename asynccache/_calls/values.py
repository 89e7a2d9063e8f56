"""Arguments of a call as JSON that tells any two of them apart. Pure.

Strings, booleans, None, 64-bit integers, finite floats and dicts with string keys stand for themselves;
everything else is a list that begins with a tag. Only exact types are known: a subclass may carry more
than its base shows. Nothing is ever turned into text by its own ``__str__``, ``__repr__`` or ``__hash__``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from math import isfinite, isnan
from pathlib import PurePath
from typing import Any, Final, TypeAlias
from uuid import UUID
from weakref import ref
from zoneinfo import ZoneInfo

import orjson

__all__ = ["InstanceTokens", "Unencodable", "ValueEncoder"]

Encoded: TypeAlias = Any
"""What orjson knows; two encodings are equal exactly if their JSON with sorted keys is."""

MAX_DEPTH: Final = 100
"""Levels of nesting; well below orjson's 254, and enough for anything but a cycle."""

_BUILT_IN: Final = (int, float, complex, str, bytes, bytearray, list, dict, set, frozenset)

_INT64: Final = range(-(2**63), 2**63)


class Unencodable(Exception):
    """A value cannot be part of a key; the text says why, and quotes no value."""


def _named(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _has_own_name(kind: type) -> bool:
    """Whether importing ``module:qualname`` leads to this very type, in this process and in others."""
    found: object = sys.modules.get(kind.__module__)
    for step in kind.__qualname__.split("."):
        found = getattr(found, step, None)
    return found is kind


class InstanceTokens:
    """Numbers for objects, never used twice, that do not keep the objects alive.

    An ``id`` is not enough: the next object may get it.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[ref[Any], int]] = {}  # by id; an item leaves with its object
        self._given = 0
        self._lock = threading.RLock()  # guards the step to the next number; a finalizer may come back in

    def token(self, instance: object) -> int:
        """The object's number in this process. Raises Unencodable when it cannot be weakly referenced."""
        address = id(instance)
        known = self._known.get(address)
        if known is not None and known[0]() is instance:
            return known[1]

        def forget(dead: ref[Any]) -> None:
            known = self._known.get(address)
            if known is not None and known[0] is dead:
                del self._known[address]

        with self._lock:
            known = self._known.get(address)  # another thread may have been quicker
            if known is not None and known[0]() is instance:
                return known[1]
            try:
                reference = ref(instance, forget)
            except TypeError:
                raise Unencodable(
                    f"instances of {type(instance).__qualname__} cannot be weakly referenced "
                    "(its __slots__ lack '__weakref__')"
                ) from None
            self._given += 1
            self._known[address] = reference, self._given
            return self._given


TOKENS: Final = InstanceTokens()
"""Of all keys of this process."""


class ValueEncoder:
    """Encodes values for keys.

    Args:
        tokens: tells apart types that no import leads to (made inside functions or at run time); None
            when keys must mean the same in other processes: such a type is then refused as an
            argument, and goes by its name as the type of one.
    """

    def __init__(self, tokens: InstanceTokens | None) -> None:
        self._tokens: Final = tokens
        self._exact: Final[dict[type, Callable[[Any, int], Encoded]]] = {
            int: _integer,
            float: _float,
            complex: lambda value, _: ["complex", _float(value.real, 0), _float(value.imag, 0)],
            str: _text,
            bytes: lambda value, _: ["bytes", value.hex()],
            bytearray: lambda value, _: ["bytearray", value.hex()],
            tuple: lambda value, depth: ["tuple", *self._each(value, depth)],
            list: lambda value, depth: ["list", *self._each(value, depth)],
            dict: self._dict,
            set: lambda value, depth: ["set", *_sorted(self._each(value, depth))],
            frozenset: lambda value, depth: ["frozenset", *_sorted(self._each(value, depth))],
            date: lambda value, _: ["date", value.isoformat()],
            datetime: _datetime,
            time: _time,
            timedelta: lambda value, _: ["timedelta", *_duration(value)],
            timezone: lambda value, _: _zone(value),
            ZoneInfo: lambda value, _: _zone(value),
            UUID: lambda value, _: ["uuid", value.hex],
            Decimal: _decimal,
        }

    def encode(self, value: object, depth: int = 0) -> Encoded:
        """The value as JSON.

        NaN equals NaN here, and 0.0 differs from -0.0; 1, 1.0 and True differ; a list differs from a
        tuple; the order of dicts and sets does not count.

        Raises:
            Unencodable: the value is, or holds, something that is not known, or is nested too deeply.
        """
        if value is None or value is True or value is False:
            return value
        if depth > MAX_DEPTH:
            raise Unencodable(f"nested deeper than {MAX_DEPTH} levels, or contains itself")
        exact = self._exact.get(type(value))
        return self._other(value, depth) if exact is None else exact(value, depth)

    def _each(self, values: Iterable[object], depth: int) -> list[Encoded]:
        return [self.encode(value, depth + 1) for value in values]

    def _dict(self, value: dict[Any, Any], depth: int) -> Encoded:
        if all(type(key) is str and _is_unicode(key) for key in value):
            return {key: self.encode(item, depth + 1) for key, item in value.items()}
        pairs = [self._each(pair, depth) for pair in value.items()]
        return ["dict", *(part for pair in _sorted(pairs) for part in pair)]

    def _other(self, value: object, depth: int) -> Encoded:
        kind = type(value)
        if isinstance(value, type):
            return ["type", *self._type(value, as_value=True)]
        if isinstance(value, Enum):
            members = [value.name, self.encode(value.value, depth + 1)]
            return ["enum", self._type(kind), *members]
        if isinstance(value, PurePath):
            return ["path", self._type(kind), _text(value.__fspath__(), depth)]
        state = _state(value)
        if state is None:
            raise Unencodable(
                f"a value of type {kind.__module__}.{kind.__qualname__} cannot be part of a key"
            )
        return ["object", self._type(kind), self._dict(state, depth)]

    def _type(self, kind: type, *, as_value: bool = False) -> list[Encoded]:
        name = _named(kind)
        if _has_own_name(kind):
            return [name]
        if self._tokens is not None:
            return [name, self._tokens.token(kind)]
        if as_value:
            raise Unencodable(
                f"the type {name} cannot be imported by that name, so other processes cannot know it"
            )
        return [name]


def _state(value: Any) -> dict[str, object] | None:
    """The fields of a dataclass, named tuple or pydantic model; None when it is none of these."""
    kind = type(value)
    if isinstance(value, _BUILT_IN):  # its items would not be among its fields
        return None
    if "__dataclass_fields__" in vars(kind):  # its own: a plain subclass may carry more
        return _present(value, [field.name for field in fields(value)])
    if isinstance(value, tuple):
        return _present(value, vars(kind)["_fields"]) if "_fields" in vars(kind) else None
    dump = getattr(kind, "model_dump", None)
    if dump is None:
        return None
    names = getattr(kind, "model_fields", None)
    if not names:
        return {"model_dump": dump(value)}
    # Field by field: pydantic's own dump leaves out excluded fields and those a subclass added.
    return _present(value, names) | (getattr(value, "model_extra", None) or {})


def _present(value: object, names: Iterable[str]) -> dict[str, object]:
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _sorted(encoded: Iterable[Encoded]) -> list[Encoded]:
    return sorted(encoded, key=lambda each: orjson.dumps(each, option=orjson.OPT_SORT_KEYS))


def _integer(value: int, _: int) -> Encoded:
    return value if value in _INT64 else ["int", f"{value:x}"]


def _float(value: float, _: int) -> Encoded:
    if isfinite(value):
        return value
    return ["float", "nan" if isnan(value) else "inf" if value > 0 else "-inf"]


def _is_unicode(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _text(value: str, _: int) -> Encoded:
    return value if _is_unicode(value) else ["str", value.encode("utf-8", "surrogatepass").hex()]


def _duration(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _decimal(value: Decimal, _: int) -> Encoded:
    sign, digits, exponent = value.as_tuple()
    return ["decimal", sign, "".join(map(str, digits)), exponent]


def _datetime(value: datetime, _: int) -> Encoded:
    zone = _zone(value.tzinfo)
    return ["datetime", value.replace(tzinfo=None).isoformat(), value.fold, zone]


def _time(value: time, _: int) -> Encoded:
    return ["time", value.replace(tzinfo=None).isoformat(), value.fold, _zone(value.tzinfo)]


def _zone(zone: tzinfo | None) -> Encoded:
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return ["zone", zone.key]
    if type(zone) is timezone:
        return ["timezone", *_duration(zone.utcoffset(None)), zone.tzname(None)]
    kind = type(zone)
    raise Unencodable(f"a time zone of type {kind.__module__}.{kind.__qualname__} cannot be part of a key")
