"""Notice when prompts of one caller stop being alike before their instructions end, and tell why."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from asynccache._errors import ConfigurationError
from asynccache._events import Event
from asynccache._lru import LRU
from asynccache.stages._shape_pieces import Piece, static_pieces

if TYPE_CHECKING:
    from asynccache._models import Scope

__all__ = ["BreakCause", "PrefixBreak", "PrefixWatch"]

BreakCause: TypeAlias = 'Literal["time", "uuid", "number", "tools", "text"]'

_LONGEST: Final = 64 * 2**10
"""Characters of one prompt compared and kept."""
_OVERHEAD: Final = 400
"""Bytes that remembering one prompt takes beside its text."""
_CHARACTERS: Final = 4
"""Of one token, on average."""
_AROUND: Final = 40
"""Characters looked at on both sides of the place where prompts differ."""
_TIME: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}[\d:.]*)?"
    r"|(?<!\d)\d{1,2}:\d{2}(?::\d{2}[\d.]*)?"
    r"|(?<!\d)1\d{9}(?:\d{3})?(?!\d)"  # epoch, in seconds or milliseconds
)
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PrefixBreak(Event):
    """A prompt that its upstream could have found computed, up to its question, and cannot.

    Args:
        partition: first 8 hex digits of the hash of tenant, namespace and model.
        at: characters that are as in an earlier prompt: tools as JSON, then instructions.
        lost: tokens of tools and instructions behind that place, at 4 characters each: an estimate.
        cause: what stands there: a time or date, a UUID, another number, tools in another order or other
            tools, any other text.
        field: where in the body it stands, such as ``tools[2]`` or ``messages[0].content``.
    """

    partition: str
    at: int
    lost: int
    cause: BreakCause
    field: str


class PrefixWatch:
    """Compares each prompt with the latest few of its tenant, namespace and model.

    What is compared are the tools and the instructions at the beginning: what follows is expected to
    differ. Prompts are kept in memory, 64 Ki characters of each at most, and told to nobody.

    Args:
        recent: prompts remembered of one tenant, namespace and model, 1 to 64; default 4. An application
            with more kinds of prompts than that should be given more.
        max_bytes: of all prompts remembered together; default 8 MiB.
        max_callers: tenants, namespaces and models remembered; default 1,024.

    Raises:
        ConfigurationError: naming the argument that cannot work.
    """

    def __init__(self, *, recent: int = 4, max_bytes: int = 8 * 2**20, max_callers: int = 1024) -> None:
        if not 1 <= recent <= 64:  # noqa: PLR2004  (each is compared with every prompt)
            raise ConfigurationError(f"recent={recent!r}: expected a number from 1 to 64")
        if max_bytes < 1 or max_callers < 1:
            raise ConfigurationError("max_bytes, max_callers: expected 1 or more")
        self._recent: Final = recent
        # Prompts of a caller, latest first; weight: their bytes.
        self._seen: Final = LRU[bytes, tuple[str, ...]](max_items=max_callers, max_weight=max_bytes)

    def see(self, body: Mapping[str, Any], scope: Scope) -> PrefixBreak | None:
        """Remember a prompt; where it differs from all that are remembered, or None where it need not.

        The first prompt of its kind differs from nothing. A prompt that was seen before, or that begins
        with all of an earlier one's tools and instructions, breaks nothing.

        Args:
            body: of a chat request, as it is sent.
            scope: whose it is.
        """
        pieces = static_pieces(body)
        text = "".join(piece.text for piece in pieces)[:_LONGEST]
        if not text:
            return None
        model = body.get("model")
        told = (scope.tenant, scope.namespace, model if isinstance(model, str) else None)
        caller = sha256(ascii(told).encode()).digest()
        seen = self._seen.get(caller, 0.0) or ()
        prompts = (text, *(each for each in seen if each != text))[: self._recent]
        weight = sum(_bytes(prompt) for prompt in prompts)
        self._seen.put(caller, prompts, weight=weight, until=inf, now=0.0)
        if not seen:
            return None
        other = max(seen, key=partial(common_length, text))
        at = common_length(text, other)
        if at in (len(text), len(other)):
            return None
        field = _field(pieces, at)
        return PrefixBreak(
            partition=caller.hex()[:8],
            at=at,
            lost=(len(text) - at) // _CHARACTERS,
            cause=cause_of(text, other, at, in_tools=not field.startswith("messages")),
            field=field,
        )


def common_length(one: str, other: str) -> int:
    """Characters that both begin with. By halving: comparing slices costs far less than characters."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[least:middle] == other[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least


def cause_of(one: str, other: str, at: int, *, in_tools: bool) -> BreakCause:
    """What two texts that are alike up to ``at`` differ in."""
    if any(_covers(_UUID, text, at) for text in (one, other)):
        return "uuid"
    if any(_covers(_TIME, text, at) for text in (one, other)):
        return "time"
    if in_tools:
        return "tools"
    digits = [text[at : at + 1].isdigit() for text in (one, other)]
    return "number" if all(digits) or (any(digits) and one[at - 1 : at].isdigit()) else "text"


def _covers(pattern: re.Pattern[str], text: str, at: int) -> bool:
    start = max(0, at - _AROUND)
    near = pattern.finditer(text[start : at + _AROUND])
    return any(found.start() <= at - start < found.end() for found in near)


def _field(pieces: Sequence[Piece], at: int) -> str:
    end = 0
    for piece in pieces:
        end += len(piece.text)
        if at < end:
            return piece.field
    return pieces[-1].field


def _bytes(prompt: str) -> int:
    """An upper bound: a character takes as much as the widest of its text."""
    width = 1 if prompt.isascii() else 4
    return len(prompt) * width + _OVERHEAD
