"""A request answered through a pipeline, in the form of an HTTP response."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import orjson

from asynccache._errors import (
    AsyncCacheError,
    ConfigurationError,
    InvalidRequest,
    NotCached,
    PipelineClosed,
    UpstreamBusy,
    UpstreamError,
    UpstreamStreamError,
    UpstreamTimeout,
)
from asynccache._models import Source
from asynccache._registry import find_dialect
from asynccache._wire.status import cache_headers
from asynccache.upstreams._failures import names_error, parse

if TYPE_CHECKING:
    from asynccache._answer_stream import AnswerStream
    from asynccache._models import Request
    from asynccache._outcome import Outcome
    from asynccache._pipeline import CachePipeline
    from asynccache._protocols import Dialect

__all__ = ["Answer", "Events", "Headers", "answer", "events", "failed", "whole"]

Headers = list[tuple[str, str]]
"""Names in lower case."""

DONE: Final = b"[DONE]"
JSON: Final = ("content-type", "application/json")
EVENT_STREAM: Final = ("content-type", "text/event-stream; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response: its body whole, or as events that whoever takes the answer must close."""

    status: int
    headers: Headers
    body: bytes | Events


async def answer(
    cache: CachePipeline, request: Request, *, renew: bool = False, as_it_came: bool = False
) -> Answer:
    """Ask the pipeline; a body with ``"stream": true`` is answered by events.

    Args:
        cache: open.
        request: what is asked.
        renew: give answers that were not made for this request an id and a creation time of their own.
        as_it_came: see ``Events``.

    Raises:
        InvalidRequest: the body is not one the dialect's upstreams could take.
        UpstreamError: as the upstream raised it; what a callable or transport raised likewise.
        NotCached: ``only_if_cached`` was asked for and nothing stored may be served.
        PipelineClosed: the pipeline is not open in this event loop.
    """
    if request.body.get("stream") is True:
        stream = cache.stream(request)
        await stream.__aenter__()
        return events(stream, renew=renew, as_it_came=as_it_came)
    return whole(await cache.fetch(request), renew=renew)


def whole(outcome: Outcome, *, renew: bool = False) -> Answer:
    """The response of an outcome; see ``answer``."""
    body = outcome.body
    if renew and outcome.source is not Source.UPSTREAM:
        token, now = _token()
        body = find_dialect(outcome.request.dialect).renewed(body, token=token, now=now)
    return Answer(200, [JSON, *cache_headers(outcome)], body)


def events(stream: AnswerStream, *, renew: bool = False, as_it_came: bool = False) -> Answer:
    """The response of a stream that has been entered; see ``answer``."""
    token = _token() if renew and stream.source is not Source.UPSTREAM else None
    # The last is nginx's: events are of use only as they come.
    headers = [
        EVENT_STREAM,
        ("cache-control", "no-store"),
        *cache_headers(stream),
        ("x-accel-buffering", "no"),
    ]
    return Answer(200, headers, Events(stream, token, as_it_came=as_it_came))


def failed(error: Exception, dialect: str) -> Answer:
    """What a server answers in place of an answer; an upstream's own words as they came.

    Anything but the errors that ``answer`` names is 500, without its words.
    """
    shape = find_dialect(dialect)
    headers: Headers = [JSON]
    match error:
        case InvalidRequest():
            return Answer(400, headers, shape.failure(400, str(error), field=error.field))
        case NotCached():
            headers.append(("x-should-retry", "false"))  # SDKs ask again at a 504 otherwise
            return Answer(504, headers, shape.failure(504, str(error)))
        case UpstreamError():
            status = _status(error)
            if error.retry_after is not None:
                headers.append(("retry-after", f"{error.retry_after:.0f}"))
            theirs = _is_failure(error)
            return Answer(status, headers, error.body if theirs else shape.failure(status, str(error)))
        case PipelineClosed():
            return Answer(503, headers, shape.failure(503, "the cache is closing"))
        case ConfigurationError():
            return Answer(500, headers, shape.failure(500, str(error)))
        case _:
            return Answer(500, headers, shape.failure(500, "internal error"))


_FAILURES: Final = range(400, 600)
"""Statuses to pass on: one that says success, or to look elsewhere, would be misunderstood."""


def _status(error: UpstreamError) -> int:
    if error.status is not None and error.status in _FAILURES:
        return error.status
    if isinstance(error, UpstreamTimeout):
        return 504
    return 503 if isinstance(error, UpstreamBusy) else 502


def _is_failure(error: UpstreamError) -> bool:
    """Whether the upstream's own words, as they came, are a document that tells of a failure."""
    document = parse(error.body)
    return isinstance(document, dict) and (error.status in _FAILURES or names_error(document))


def _token() -> tuple[str, int]:
    return uuid4().hex, int(time.time())


class Events:
    """The bytes of an event stream: an async iterator, and to be closed by whoever got it.

    A stored answer comes in few large pieces, a fresh one event by event. An answer that breaks off ends
    with the upstream's own error event, or one that says what happened.

    Args:
        stream: entered.
        renewed: token and time of ``Dialect.renewed``; None leaves the events as they are.
        as_it_came: let an answer break off as it would without a cache: by the upstream's own event, by the
            transport's own error, or by simply ending.
    """

    def __init__(
        self, stream: AnswerStream, renewed: tuple[str, int] | None, *, as_it_came: bool = False
    ) -> None:
        self._stream: Final = stream
        self._renewed: Final = renewed
        self._as_it_came: Final = as_it_came
        self._dialect: Final[Dialect] = find_dialect(stream.request.dialect)
        self._ended = False
        self.broken: Exception | None = None
        """Why the answer broke off; None when it did not."""

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        try:
            frames = await self._stream.next_frames()
        except StopAsyncIteration:
            self._ended = True
            if self._dialect.closing:
                return self._dialect.closing
            raise
        except Exception as error:  # noqa: BLE001  (told to the client, and kept)
            self._ended, self.broken = True, error
            if self._as_it_came:
                return self._last(error)
            return self._dialect.event(self._told(error)) + self._dialect.closing
        if self._renewed is not None:
            token, now = self._renewed
            frames = [self._dialect.renewed(frame, token=token, now=now) for frame in frames]
        return b"".join(map(self._dialect.event, frames))

    def _last(self, error: Exception) -> bytes:
        """What came last where all went out as it came; raises what the transport raised."""
        if not isinstance(error, UpstreamStreamError):
            raise error
        if error.body == DONE:
            return self._dialect.closing
        if error.body:  # another's call, on whose end this one has no say
            return self._dialect.event(error.body) + self._dialect.closing
        if isinstance(error.__cause__, Exception):
            raise error.__cause__
        raise StopAsyncIteration

    def _told(self, error: Exception) -> bytes:
        if isinstance(error, UpstreamError) and _is_object(error.body):
            return error.body
        words = str(error) if isinstance(error, AsyncCacheError) else "the upstream failed in mid-stream"
        return self._dialect.failure(502, words)

    async def aclose(self) -> None:
        """Release the upstream's connection, if nobody else reads the answer. Safe to call twice."""
        self._ended = True
        await self._stream.__aexit__(None, None, None)


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        return False
