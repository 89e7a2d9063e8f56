"""Starlette: a pipeline that lives with the application, and its answers as responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias

try:
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import Response
    from starlette.types import Lifespan, Receive, Scope, Send
except ImportError as lacking:  # pragma: no cover
    raise ImportError(
        f'this integration needs {lacking.name}; pip install "asynccache[fastapi]" or starlette'
    ) from lacking

from asynccache._answer_stream import AnswerStream
from asynccache._errors import ConfigurationError
from asynccache._outcome import Outcome
from asynccache._pipeline import CachePipeline
from asynccache._requests import ScopeLike
from asynccache._wire.answer import Answer, failed, whole
from asynccache.integrations._answering import (
    CLIENT_LEFT,
    EXPECTED,
    MOST_BYTES,
    CacheLike,
    Make,
    answering,
    entering,
    made,
    release,
    too_large,
)
from asynccache.integrations._attended import while_attended

__all__ = [
    "CacheLike",
    "answer_request",
    "cache_lifespan",
    "cache_response",
    "current_cache",
    "install_error_handlers",
]

_State: TypeAlias = Mapping[str, Any]


def cache_lifespan(cache: CacheLike, *, lifespan: Lifespan[Any] | None = None) -> Lifespan[Any]:
    """A lifespan for the application that opens the pipeline at its start and closes it at its end.

    The open pipeline is at ``app.state.asynccache``. To open it within a lifespan of your own, in whatever
    place, enter ``cache_lifespan(cache)(app)`` there.

    Args:
        cache: a pipeline, not open, or a function that makes one whenever the application starts.
        lifespan: the application's own; it runs while the pipeline is open, and its state is passed on.
    """

    @asynccontextmanager
    async def opened(app: Starlette) -> AsyncIterator[_State | None]:
        async with made(cache) as open_cache:
            app.state.asynccache = open_cache
            try:
                if lifespan is None:
                    yield None
                else:
                    async with lifespan(app) as state:
                        yield state
            finally:
                del app.state.asynccache

    return opened  # type: ignore[return-value]  # Starlette's type knows with a state and without, not both


async def current_cache(connection: HTTPConnection) -> CachePipeline:
    """The pipeline of the application that a request or websocket came to.

    Raises:
        ConfigurationError: the application has none.
    """
    cache = getattr(connection.app.state, "asynccache", None)
    if not isinstance(cache, CachePipeline):
        raise ConfigurationError(
            "this application has no open cache: give it lifespan=cache_lifespan(CachePipeline(...)); a"
            " mounted application has a state of its own, and a TestClient opens it only in a `with` block"
        )
    return cache


def cache_response(
    served: Outcome | AnswerStream, *, renew: bool = False, dialect: str = "chat.completions"
) -> Response:
    """An outcome, or a stream, as a response with Cache-Status and, on a hit, Age.

    An outcome is its body, as JSON. A stream is server-sent events; it must not have been entered: that
    happens when the response is sent. What the upstream raises before its first event goes to the
    application's exception handlers, and where they have none for it, becomes an error response. What
    breaks the answer later is its last event. A client that leaves closes the stream at once, and with it
    the upstream call, unless others read it. Events are fetched no faster than the client takes them.

    Args:
        served: as the pipeline returned it.
        renew: give answers that were not made for this request an id and a creation time of their own.
        dialect: the protocol of a stream's request, whose shape error responses take.
    """
    if isinstance(served, Outcome):
        return _plain(whole(served, renew=renew))
    return _AttendedResponse(entering(served, renew=renew), dialect)


async def answer_request(
    cache: CachePipeline,
    request: Request,
    *,
    dialect: str = "chat.completions",
    scope: ScopeLike = None,
    renew: bool = False,
    max_bytes: int = MOST_BYTES,
) -> Response:
    """Answer a request whose body is that of a protocol, as a server of that protocol would.

    ``"stream": true`` in the body is answered with events. The ``Cache-Control`` and ``X-Cache-Tags``
    headers are obeyed. Every error has the protocol's shape, except those of the application's own code.
    A client that leaves gives up the upstream call, unless others wait for it.

    Args:
        cache: open.
        request: not read yet, or read by ``body()``.
        dialect: the protocol.
        scope: whose request it is, for caches that serve several tenants or users.
        renew: as in ``cache_response``.
        max_bytes: largest body; a larger one is answered with 413. Default 16 MiB.
    """
    body = bytearray()
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > max_bytes:
                return _plain(too_large(dialect, max_bytes))
    header = request.headers.getlist
    return _AttendedResponse(
        answering(cache, bytes(body), header, dialect=dialect, scope=scope, renew=renew), dialect
    )


def install_error_handlers(app: Starlette, *, dialect: str = "chat.completions") -> None:
    """Answer the errors of a pipeline with a status and a body as servers of ``dialect`` send them.

    Without it, those raised in a route, as by ``await cache.ask(...)``, are the application's 500.
    """

    async def answer_error(_: Request, error: Exception) -> Response:
        return _plain(failed(error, dialect))

    for kind in EXPECTED:
        app.add_exception_handler(kind, answer_error)


def _plain(answer: Answer) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers))


class _AttendedResponse(Response):
    """A response that is made when it is sent: only then can the client be seen leaving."""

    def __init__(self, make: Make, dialect: str) -> None:
        self._make: Final = make
        self._dialect: Final = dialect
        self.status_code = 200  # the answer brings its own
        self.background: BackgroundTask | None = None
        self.init_headers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: Answer | None = None
        complete = False

        async def respond() -> None:
            nonlocal answer, complete
            try:
                answer = await self._make()
            except EXPECTED as error:
                if _has_handler(scope, error):
                    raise
                answer = failed(error, self._dialect)
            complete = await self._deliver(answer, send)

        try:
            await while_attended(respond, partial(_gone, receive))
        finally:
            await release(answer)
        if answer is None:
            # Middleware counts on a response, and the access log wants a status.
            await self._deliver(Answer(CLIENT_LEFT, [], b""), send)
        if complete and self.background is not None:
            await self.background()

    async def _deliver(self, answer: Answer, send: Send) -> bool:
        """Whether it was sent to its end."""
        headers = [
            *self.raw_headers,
            *((n.encode("latin-1"), v.encode("latin-1")) for n, v in answer.headers),
        ]
        if isinstance(answer.body, bytes):
            headers.append((b"content-length", b"%d" % len(answer.body)))
        try:
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            if isinstance(answer.body, bytes):
                await send({"type": "http.response.body", "body": answer.body})
                return True
            async for piece in answer.body:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except OSError:  # how servers since ASGI 2.4 say that the client has left
            return False
        return True


def _has_handler(scope: Scope, error: Exception) -> bool:
    handlers, _ = scope.get("starlette.exception_handlers", ({}, {}))
    return any(kind in handlers for kind in type(error).__mro__)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
