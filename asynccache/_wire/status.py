"""The Cache-Status header (RFC 9211): what the cache did with a request."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from asynccache._models import Source

if TYPE_CHECKING:
    from asynccache._answer_stream import AnswerStream
    from asynccache._outcome import Outcome

__all__ = ["cache_headers", "cache_status"]

_UNQUOTABLE: Final = re.compile(r"[^ !#-\[\]-~]")
"""Characters a structured-field string cannot hold, or not without an escape."""


def cache_status(served: Outcome | AnswerStream) -> str:
    """Of an answered request, e.g. ``asynccache; hit; ttl=3541; detail=semantic``.

    ``ttl`` is the rest of the seconds the answer may be served, absent when it never expires. ``detail``
    is the source of a hit, or why nothing was stored.
    """
    source = served.source
    if source.hit:
        ttl = _ttl_left(served)
        return f"asynccache; hit;{'' if ttl is None else f' ttl={ttl};'} detail={source.value}"
    control = served.request.control
    forwarded = "request" if control.no_cache else "miss"
    collapsed = "; collapsed" if source is Source.SHARED else ""
    detail = f'; detail="{_UNQUOTABLE.sub("", served.reasons[-1])}"' if served.reasons else ""
    return f"asynccache; fwd={forwarded}{collapsed}{detail}"


def cache_headers(served: Outcome | AnswerStream) -> list[tuple[str, str]]:
    """``Cache-Status``, and on a hit ``Age``."""
    headers = [("cache-status", cache_status(served))]
    if served.age is not None:
        headers.append(("age", str(max(0, math.floor(served.age)))))
    return headers


def _ttl_left(served: Outcome | AnswerStream) -> int | None:
    entry, age = served.entry, served.age
    if entry is None or entry.ttl is None or age is None:
        return None
    return math.floor(entry.ttl - age)
