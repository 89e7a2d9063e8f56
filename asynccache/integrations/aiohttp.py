"""aiohttp's server: a pipeline that lives with the application, and its answers as responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final

import anyio

try:
    from aiohttp import web
    from aiohttp.typedefs import Handler
except ImportError as lacking:  # pragma: no cover
    raise ImportError(
        f'this integration needs {lacking.name}; pip install "asynccache[aiohttp]"'
    ) from lacking

from asynccache._answer_stream import AnswerStream
from asynccache._outcome import Outcome
from asynccache._pipeline import CachePipeline
from asynccache._requests import ScopeLike
from asynccache._wire.answer import Answer, failed, whole
from asynccache.integrations._answering import (
    CLIENT_LEFT,
    EXPECTED,
    CacheLike,
    Make,
    answering,
    entering,
    made,
    release,
    too_large,
)
from asynccache.integrations._attended import while_attended

__all__ = ["CACHE", "CacheLike", "answer_request", "cache_ctx", "cache_errors", "cache_response"]

CACHE: Final = web.AppKey("asynccache", CachePipeline)
"""Where the open pipeline is: ``request.app[CACHE]``; in a sub-application ``request.config_dict[CACHE]``."""

_LOOK_SECONDS: Final = 0.25
"""How often a client is looked after: aiohttp tells nobody that one has left."""


def cache_ctx(cache: CacheLike) -> Callable[[web.Application], AsyncIterator[None]]:
    """What ``app.cleanup_ctx.append`` takes to open the pipeline at the start and close it at the end.

    Args:
        cache: a pipeline, not open, or a function that makes one whenever the application starts.
    """

    async def opened(app: web.Application) -> AsyncIterator[None]:
        async with made(cache) as open_cache:
            app[CACHE] = open_cache
            yield

    return opened


async def cache_response(
    request: web.Request,
    served: Outcome | AnswerStream,
    *,
    renew: bool = False,
    dialect: str = "chat.completions",
) -> web.StreamResponse:
    """An outcome, or a stream, as a response with Cache-Status and, on a hit, Age; return it at once.

    An outcome is its body, as JSON. A stream is server-sent events; it must not have been entered, and has
    been sent when this returns. What the upstream raises before its first event becomes an error response;
    what breaks the answer later is its last event. Events are fetched no faster than the client takes them.

    A client that leaves closes the stream, and with it the upstream call, unless others read it: within a
    quarter of a second, or at once where the server runs with ``handler_cancellation=True``.

    Args:
        request: the one to respond to.
        served: as the pipeline returned it.
        renew: give answers that were not made for this request an id and a creation time of their own.
        dialect: the protocol of a stream's request, whose shape error responses take.
    """
    if isinstance(served, Outcome):
        return _plain(whole(served, renew=renew))
    return await _respond(request, entering(served, renew=renew), dialect)


async def answer_request(
    cache: CachePipeline,
    request: web.Request,
    *,
    dialect: str = "chat.completions",
    scope: ScopeLike = None,
    renew: bool = False,
) -> web.StreamResponse:
    """Answer a request whose body is that of a protocol, as a server of that protocol would.

    ``"stream": true`` in the body is answered with events. The ``Cache-Control`` and ``X-Cache-Tags``
    headers are obeyed. Every error has the protocol's shape, except those of the application's own code.
    A client that leaves gives up the upstream call, as in ``cache_response``. A body larger than the
    application's ``client_max_size``, 1 MiB by default, is answered with 413.

    Args:
        cache: open.
        request: its body is read here.
        dialect: the protocol.
        scope: whose request it is, for caches that serve several tenants or users.
        renew: as in ``cache_response``.
    """
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        return _plain(too_large(dialect, request.client_max_size))

    def header(name: str) -> list[str]:
        return request.headers.getall(name, [])

    make = answering(cache, body, header, dialect=dialect, scope=scope, renew=renew)
    return await _respond(request, make, dialect)


@web.middleware
async def cache_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Middleware that answers a pipeline's errors with a status and a body as OpenAI's servers send them.

    Without it, those raised in a handler, as by ``await cache.ask(...)``, are the application's 500.
    """
    try:
        return await handler(request)
    except EXPECTED as error:
        return _plain(failed(error, "chat.completions"))


async def _respond(request: web.Request, make: Make, dialect: str) -> web.StreamResponse:
    answer: Answer | None = None
    response: web.StreamResponse = web.Response(status=CLIENT_LEFT)

    async def respond() -> None:
        nonlocal answer, response
        try:
            answer = await make()
        except EXPECTED as error:
            answer = failed(error, dialect)
        if isinstance(answer.body, bytes):
            response = _plain(answer)
            return
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        try:
            await response.prepare(request)
            async for piece in answer.body:
                await response.write(piece)
            await response.write_eof()
        except ConnectionError:  # the client has left
            return

    try:
        await while_attended(respond, partial(_gone, request))
    finally:
        await release(answer)
    return response


def _plain(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


async def _gone(request: web.Request) -> None:
    while (transport := request.transport) is not None and not transport.is_closing():  # noqa: ASYNC110  (there is no event)
        await anyio.sleep(_LOOK_SECONDS)
