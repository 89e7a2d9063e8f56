"""What the web frameworks' integrations have in common: how a request becomes an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import orjson

from asynccache._answer_stream import AnswerStream
from asynccache._errors import (
    ConfigurationError,
    InvalidRequest,
    NotCached,
    PipelineClosed,
    UpstreamError,
)
from asynccache._lifespan import to_its_end
from asynccache._models import NO_SCOPE, Request, Scope
from asynccache._pipeline import CachePipeline
from asynccache._registry import find_dialect
from asynccache._requests import ScopeLike
from asynccache._wire.answer import Answer, Events, answer, events, failed
from asynccache._wire.control import control_from

__all__ = [
    "CLIENT_LEFT",
    "EXPECTED",
    "MOST_BYTES",
    "CacheLike",
    "Make",
    "answering",
    "entering",
    "made",
    "release",
    "too_large",
]

CacheLike: TypeAlias = CachePipeline | Callable[[], CachePipeline]
"""A pipeline, not open, or what makes one whenever the application starts."""

Make: TypeAlias = Callable[[], Awaitable[Answer]]

EXPECTED: Final = (ConfigurationError, InvalidRequest, NotCached, PipelineClosed, UpstreamError)
"""Errors that are answered with a status of their own; others are the application's."""

CLIENT_LEFT: Final = 499
"""Status of a response nobody reads, for access logs; not one of RFC 9110, but what proxies use."""

MOST_BYTES: Final = 16 * 2**20
"""Largest request body, as the pipeline's own default."""


def made(cache: CacheLike) -> CachePipeline:
    """The pipeline to open."""
    return cache if isinstance(cache, CachePipeline) else cache()


def entering(stream: AnswerStream, *, renew: bool) -> Make:
    """What enters the stream, which must not have been, and makes its answer."""

    async def make() -> Answer:
        await stream.__aenter__()
        return events(stream, renew=renew)

    return make


def answering(
    cache: CachePipeline,
    body: bytes,
    header: Callable[[str], list[str]],
    *,
    dialect: str,
    scope: ScopeLike,
    renew: bool,
) -> Make:
    """What makes the answer to a body as it came over the wire.

    Args:
        cache: open.
        body: the bytes of it.
        header: all values of the header of that lower-case name.
        dialect: the protocol the body is in.
        scope: whose request it is; None for the pipeline's own.
        renew: as in ``_wire.answer.answer``.
    """

    async def make() -> Answer:
        given = {name: ", ".join(values) for name in _HEADERS if (values := header(name))}
        placed = NO_SCOPE if scope is None else Scope.of(scope)
        asked = Request(body=_object(body), dialect=dialect, scope=placed, control=control_from(given))
        return await answer(cache, asked, renew=renew)

    return make


_HEADERS: Final = ("cache-control", "x-cache-tags")


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("body", f"not JSON: line {error.lineno}, column {error.colno}") from None
    if not isinstance(document, dict):
        raise InvalidRequest("body", f"expected a JSON object, got {type(document).__name__}")
    return document


def too_large(dialect: str, most: int) -> Answer:
    """What answers a body of more than ``most`` bytes."""
    refused = failed(InvalidRequest("body", f"larger than {most} bytes"), dialect)
    body = find_dialect(dialect).failure(413, f"body: larger than {most} bytes", field="body")
    return Answer(413, refused.headers, body)


async def release(given: Answer | None) -> None:
    """Close what the answer holds, though the caller is cancelled meanwhile."""
    if given is not None and isinstance(given.body, Events):
        await to_its_end(given.body.aclose())
