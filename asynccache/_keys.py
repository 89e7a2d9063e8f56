"""Keys: what makes two requests the same question of the same asker.

A key is the SHA-256 of canonical JSON over a structured value, so no two different values meet by the
way they are written side by side. It holds every field of the body except the few a dialect documents
as neutral, and always the scope.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from asynccache._errors import ConfigurationError, InvalidRequest
from asynccache._models import NO_SCOPE
from asynccache._protocols import Divisible
from asynccache._registry import find_dialect

if TYPE_CHECKING:
    from asynccache._models import History, Request, Scope

__all__ = ["Fingerprint", "Keyring", "parse_history", "to_json"]

FORMAT: Final = "asynccache/1"
"""Part of every key: a change of the canonical form starts a new set of keys."""

_DEEPEST: Final = 200
"""Levels of nesting; orjson itself stops at 254."""
ON_LOOP: Final = 64 * 2**10
"""Bytes of a body made canonical on the event loop; more may hold it for milliseconds."""
_MEMO_SPELLING: Final = 8 * 2**10
"""Bytes; longer bodies are canonicalised each time, which costs little beside handling them."""
_MEMO_OVERHEAD: Final = 600
"""Bytes a remembered spelling takes beside its text and its question."""
_MEMO_TOTAL: Final = 32 * 2**20
"""Bytes of spellings one memo holds."""
_LAST: Final = re.compile(r"last:([1-9][0-9]{0,3})")

_Owner: TypeAlias = "tuple[str, str | None, str | None, str | None, str | None]"
_PLAINEST: Final[_Owner] = ("chat.completions", None, None, None, None)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What normalization finds out about a request."""

    key: bytes
    partition: bytes
    question: str | None
    uncacheable: str | None
    repeats: bool
    """``Dialect.repeats``."""


def _plain(value: object) -> object:
    """Turn what SDKs put into bodies (mappings, pydantic models) into what orjson knows."""
    if isinstance(value, Mapping):
        return dict(value)
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json", exclude_unset=True)
    raise TypeError


def to_json(body: Mapping[str, Any]) -> bytes:
    """Encode a body as it goes over the wire, in the caller's own order.

    Raises:
        InvalidRequest: naming the first field that JSON cannot carry.
    """
    return _dumps(body, body, 0)


def _dumps(value: object, body: object, option: int) -> bytes:
    try:
        return orjson.dumps(value, _plain, option)
    except (TypeError, RecursionError) as error:
        path, problem = _first_fault(body, "body", 0) or ("body", str(error))
        raise InvalidRequest(path, problem) from None


def _first_fault(value: object, path: str, depth: int) -> tuple[str, str] | None:
    """Where, and why, JSON cannot carry ``value``; None when it can."""
    if depth > _DEEPEST:
        return path, "nested too deeply"
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                return path, f"keys must be strings, got {type(name).__name__}"
        inside = [(item, name if path == "body" else f"{path}.{name}") for name, item in value.items()]
    elif isinstance(value, (list, tuple)):
        inside = [(item, f"{path}[{index}]") for index, item in enumerate(value)]
    else:
        return _scalar_fault(value, path)
    for item, place in inside:
        if fault := _first_fault(item, place, depth + 1):
            return fault
    return None


def _scalar_fault(value: object, path: str) -> tuple[str, str] | None:
    if isinstance(value, float) and not isfinite(value):
        return path, "must be finite"
    try:
        orjson.dumps(value, _plain)
    except TypeError:
        if isinstance(value, int):
            return path, "integer out of JSON's 64-bit range"
        if isinstance(value, str):
            return path, "text that is not valid Unicode (a lone surrogate)"
        return path, f"{type(value).__name__} cannot be sent as JSON"
    return None


def parse_history(given: object) -> History:
    """What ``"equal"``, ``"ignore"`` or ``"last:n"`` means; a History is returned as it is.

    Raises:
        ConfigurationError: it is none of them, or n is not from 1 to 9999.
    """
    if given == "equal":
        return "equal"
    if given == "ignore":
        return "ignore"
    text = f"last:{given}" if isinstance(given, int) else given  # True reads "True": no number
    if isinstance(text, str) and (found := _LAST.fullmatch(text)):
        return int(found[1])
    raise ConfigurationError(
        f"history={given!r}: expected 'equal', 'ignore' or 'last:n' with n from 1 to 9999, as in 'last:3'"
    )


class Keyring:
    """Makes keys; remembers the spellings it has seen, because canonical form costs ten times a lookup.

    A spelling is the JSON of dialect, scope, version and body, in the caller's own order: exactly what was
    sent, so that the memo cannot confuse two requests. Of a chat without scope and version it is the JSON of
    the body alone, an object where others are lists. Not thread-safe; one per pipeline.

    Args:
        max_request_bytes: largest body accepted, in bytes of JSON.
        origin: part of every key: whose answers these are, in a store that strangers share.
        history: which earlier messages are part of the partition, as ``parse_history`` takes it; the key
            holds them all.

    Raises:
        ConfigurationError: there is no such history.
    """

    def __init__(
        self, *, max_request_bytes: int, origin: str | None = None, history: History | str = "equal"
    ) -> None:
        self._limit: Final = max_request_bytes
        self._origin: Final = origin
        self._history: Final = parse_history(history)
        self._memo: dict[bytes, Fingerprint] = {}  # by spelling, oldest first
        self._memo_size = 0

    def fingerprint(self, request: Request) -> Fingerprint:
        """Key, partition and question of a request.

        Raises:
            InvalidRequest: the body is not one the dialect's upstreams could take, or too large.
        """
        owner = _owner(request)
        plainest = owner == _PLAINEST and request.scope is NO_SCOPE
        spelling = _dumps(request.body if plainest else (*owner, request.body), request.body, 0)
        if plainest and not spelling.startswith(b"{"):  # a list might say that it is another's
            raise InvalidRequest("body", f"expected a mapping, got {type(request.body).__name__}")
        known = self._memo.get(spelling)
        if known is not None:
            return known
        # From what was spelt: a body that is being changed must not get the key of what it becomes.
        spelt = orjson.loads(spelling)
        raw = orjson.dumps(spelt if plainest else spelt[-1], option=orjson.OPT_SORT_KEYS)
        has_null = self._check_raw(request, raw)
        made = _canonical(owner, raw, self._origin, self._history)
        # A body with a null in it is looked at anew each time: a NaN must not pass for a null seen before.
        if not has_null and len(raw) <= _MEMO_SPELLING:
            self._remember(spelling, made)
        return made

    def keys(self, request: Request) -> list[bytes]:
        """The keys under which answers to it are stored: its own, then those of its parts (``Divisible``).

        Raises as ``fingerprint``.
        """
        own = self.fingerprint(request).key
        dialect = find_dialect(request.dialect)
        if not isinstance(dialect, Divisible):
            return [own]
        bodies = dialect.divide(orjson.loads(to_json(request.body))) or ()
        return [own, *[self.fingerprint(replace(request, body=body)).key for body in bodies]]

    def defer(self, request: Request) -> Callable[[], Fingerprint] | None:
        """For a large body, a function that makes its fingerprint in any thread; None for others.

        Raises as ``fingerprint``, here and now, for what is no JSON or too large.
        """
        owner = _owner(request)
        raw = _dumps(request.body, request.body, orjson.OPT_SORT_KEYS)
        if len(raw) <= ON_LOOP:
            return None
        self._check_raw(request, raw)
        return partial(_canonical, owner, raw, self._origin, self._history)

    def _check_raw(self, request: Request, raw: bytes) -> bool:
        """Refuse what is too large or not finite; whether there is a null in it."""
        if len(raw) > self._limit:
            problem = f"{len(raw)} bytes of JSON are over the limit of {self._limit} (max_request_bytes)"
            raise InvalidRequest("body", problem)
        has_null = b"null" in raw
        if has_null and (fault := _first_fault(request.body, "body", 0)):  # orjson writes NaN as null
            raise InvalidRequest(*fault)
        return has_null

    def recall(self, dialect: str, scope: Scope, body: Mapping[str, Any]) -> Fingerprint | None:
        """The fingerprint of a spelling seen before, of a request without ``Control.version``.

        None for any other, and for what cannot be spelled.
        """
        try:
            if scope is NO_SCOPE and dialect == _PLAINEST[0]:
                spelling = orjson.dumps(body, _plain)
                return self._memo.get(spelling) if spelling.startswith(b"{") else None
            owner = (dialect, scope.tenant, scope.user, scope.namespace, None)  # as ``_owner``
            return self._memo.get(orjson.dumps((*owner, body), _plain))
        except (TypeError, RecursionError):
            return None

    def _remember(self, spelling: bytes, made: Fingerprint) -> None:
        # orjson's bytes keep the whole buffer they were made in; a copy takes what it holds.
        self._memo[bytes(memoryview(spelling))] = made
        self._memo_size += 2 * len(spelling) + _MEMO_OVERHEAD
        while self._memo_size > _MEMO_TOTAL:
            oldest = next(iter(self._memo))
            del self._memo[oldest]
            self._memo_size -= 2 * len(oldest) + _MEMO_OVERHEAD


def _owner(request: Request) -> _Owner:
    scope = request.scope
    return request.dialect, scope.tenant, scope.user, scope.namespace, request.control.version


def _canonical(owner: _Owner, raw: bytes, origin: str | None, history: History) -> Fingerprint:
    dialect = find_dialect(owner[0])
    plain = orjson.loads(raw)
    dialect.check(plain)
    uncacheable = dialect.bypass(plain)
    identity = dialect.identity(plain)
    context, question = dialect.split(identity, history)
    return Fingerprint(
        _hash("key", origin, owner, identity),
        _hash("partition", origin, owner, context),
        question,
        uncacheable,
        dialect.repeats,
    )


def _hash(*parts: object) -> bytes:
    return sha256(orjson.dumps((FORMAT, *parts), option=orjson.OPT_SORT_KEYS)).digest()
