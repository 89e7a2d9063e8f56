"""A caching server before an OpenAI-compatible one: ``asynccache serve``, as an ASGI application."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import orjson

from asynccache._errors import AsyncCacheError, ConfigurationError, UpstreamAuth
from asynccache._lifespan import Nursery
from asynccache._models import Request
from asynccache._wire.answer import Answer, answer
from asynccache._wire.control import control_from
from asynccache._wire.relay import Relay
from asynccache._wire.routes import paths
from asynccache.server._proxy_answers import as_received, failure
from asynccache.server._proxy_body import check_form, parsed, read
from asynccache.server._proxy_client import understood
from asynccache.server._proxy_forward import forward, is_below, query_of
from asynccache.server._proxy_gate import Gate
from asynccache.server._proxy_openapi import document
from asynccache.server._proxy_options import ProxyOptions
from asynccache.server._proxy_refusal import ClientLeft, Refusal, account_refused, refused
from asynccache.server._proxy_reply import Reply
from asynccache.server._proxy_settings import Settings
from asynccache.server._proxy_signals import drained_on_signals
from asynccache.server._proxy_watch import Watch

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from asynccache._protocols import Hook

__all__ = ["ProxyApp", "Report"]

_JSON: Final = ("content-type", "application/json")
Report = Callable[[str, Exception], None]
"""Told what has failed, ``"request"`` or ``"server"``, and why."""
_LOOKING: Final = frozenset({"GET", "HEAD"})
_OF_THE_CONNECTION: Final = frozenset({"CONNECT", "TRACE"})
"""Methods for the way to an upstream, not for what is there: nobody goes through here."""


class ProxyApp:
    """Answers questions to models through a pipeline, which it opens and closes with its own lifespan.

    ``POST /v1/chat/completions`` and the other dialects' paths; ``GET /healthz``, ``/readyz`` and
    ``/openapi.json``. Of all else below ``/v1``, ``options.unknown`` says what happens to it.

    Args:
        options: how to serve.
        hooks: the pipeline's.
        report: called for failures nobody has foreseen; an error's words may quote what a client has sent,
            unless it is an AsyncCacheError.
        signals: whether SIGTERM and SIGINT drain it, before its server gets to see them.
        ready: called once it serves.

    Raises:
        ConfigurationError: an option cannot work.
    """

    def __init__(
        self,
        options: ProxyOptions,
        *,
        hooks: Iterable[Hook] = (),
        report: Report | None = None,
        signals: bool = False,
        ready: Callable[[], None] | None = None,
    ) -> None:
        self._options: Final = options
        self._signals: Final = signals
        self._ready: Final = ready
        self._report: Final = report
        self.settings: Final = Settings.of(options, hooks)
        self._gate: Final = Gate(options.max_concurrency)
        self._nursery: Final = Nursery()
        self._asked: Final = {f"/v1{path}": (path, dialect) for path, dialect in paths().items()}
        openapi = orjson.dumps(document(paths()))
        self._own_pages: Final[dict[str, Callable[[], Answer]]] = {
            "/healthz": lambda: _status(200, "ok"),
            "/readyz": self._readiness,
            "/openapi.json": lambda: Answer(200, [_JSON], openapi),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._live(receive, send)
            return
        path: str = scope["path"]
        reply = Reply(send)
        page = self._own_pages.get(path)
        if page is not None:
            looking = scope["method"] in _LOOKING
            await reply.whole(page() if looking else refused(_not_allowed("GET, HEAD"), _nearest(path)))
            return
        asked = self._asked.get(path)
        dialect = _nearest(path) if asked is None else asked[1]
        try:
            self._gate.enter()
        except Refusal as refusal:
            await reply.whole(refused(refusal, dialect))
            return
        watch = Watch(receive, self._nursery)
        try:
            if asked is None:
                await self._pass(scope, receive, reply, watch)
            else:
                await self._ask(scope, asked, receive, reply, watch)
        except ClientLeft:
            pass
        except asyncio.CancelledError:
            if not watch.left:
                if not reply.started:
                    await reply.whole(refused(self._gate.closing(), dialect))
                raise
        except Exception as error:  # noqa: BLE001  (the client hears of it, and the log)
            instead = self._failure(understood(error), dialect)
            if not reply.started:
                watch.close()
                await reply.whole(instead)
        finally:
            watch.close()
            self._gate.leave()

    async def _ask(
        self, scope: Scope, asked: tuple[str, str], receive: Receive, reply: Reply, watch: Watch
    ) -> None:
        path, dialect = asked
        if scope["method"] != "POST":
            raise _not_allowed("POST")
        given = scope["headers"]
        headers = dict(given)
        account = self.settings.accounts.of(given, path + query_of(scope))
        check_form(headers, self._options.max_body)
        content = await read(receive, self._options.max_body)
        watch.begin()
        body, exact = parsed(content)
        control = control_from(_control_headers(given))
        if not exact:
            control = replace(control, no_cache=True, no_store=True)
        relay = None
        if account.headers is not None:
            target, sent = path + query_of(scope), account.headers
            client = self.settings.client
            relay = Relay(body, content, lambda body: client.ask(target, sent, body), now=time.time)
        request = Request(
            body=body,
            dialect=dialect,
            scope=account.scope,
            control=control,
            upstream=self.settings.own if relay is None else relay,
        )
        try:
            made = await answer(
                self.settings.cache, request, renew=self._options.renew_ids, as_it_came=relay is not None
            )
        except AsyncCacheError as error:
            if self.settings.own is not None and isinstance(error, UpstreamAuth):
                raise account_refused() from error
            if relay is None or relay.received is None:
                raise
            made = failure(error, relay.received, dialect)
        else:
            if relay is not None:
                made = as_received(made, relay.received)
        await reply.answer(made, watch)

    async def _pass(self, scope: Scope, receive: Receive, reply: Reply, watch: Watch) -> None:
        if scope["method"] in _OF_THE_CONNECTION:
            raise _not_allowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
        accounts = self.settings.accounts
        headers = accounts.outgoing(scope["headers"])
        if not is_below(scope["raw_path"]) or not self._passes(scope):
            raise Refusal(404, "this path is not served here")
        await forward(
            self.settings.client,
            scope,
            headers=headers,
            receive=receive,
            reply=reply,
            watch=watch,
            shared=self.settings.own is not None,
        )

    def _passes(self, scope: Scope) -> bool:
        if self._options.unknown == "auto" and self.settings.own is not None:
            path = scope["path"]
            return scope["method"] in _LOOKING and (path == "/v1/models" or path.startswith("/v1/models/"))
        return self._options.unknown != "refuse"

    def _failure(self, error: Exception, dialect: str) -> Answer:
        if isinstance(error, Refusal):
            return refused(error, dialect)
        if not isinstance(error, AsyncCacheError) or isinstance(error, ConfigurationError):
            self._tell("request", error)
        return failure(error, None, dialect)

    def _tell(self, what: str, error: Exception) -> None:
        if self._report is not None:
            self._report(what, error)

    def _readiness(self) -> Answer:
        ready = self._gate.open and not self._gate.draining and self.settings.cache.is_open
        return _status(200, "ready") if ready else _status(503, "not ready")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        phase = "startup"
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._nursery.lifespan())
                await stack.enter_async_context(self.settings.client.lifespan())
                if self.settings.own is not None:
                    await stack.enter_async_context(self.settings.own.lifespan())
                await stack.enter_async_context(self.settings.cache)
                if self._signals:
                    drained = drained_on_signals(self._gate, self._nursery, grace=self._options.grace)
                    stack.enter_context(drained)
                self._gate.open = True
                gc.collect()
                gc.freeze()  # what lives as long as the server need not be looked at again
                if self._ready is not None:
                    self._ready()
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
                self._gate.open = False
        except Exception as error:  # noqa: BLE001  (the server is told, and the log)
            words = str(error) if isinstance(error, AsyncCacheError) else ""
            self._tell("server", error)
            await send({"type": f"lifespan.{phase}.failed", "message": words})
        else:
            await send({"type": "lifespan.shutdown.complete"})


def _control_headers(given: list[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in given:
        if name in _CONTROLLING:
            text, before = value.decode("latin-1"), found.get(name.decode())
            found[name.decode()] = text if before is None else f"{before},{text}"
    return found


_CONTROLLING: Final = frozenset({b"cache-control", b"x-cache-tags"})


def _nearest(path: str) -> str:
    """In whose shape to refuse a request for an unknown path."""
    return "messages" if path.startswith("/v1/messages") else "chat.completions"


def _not_allowed(methods: str) -> Refusal:
    return Refusal(405, "this method is not allowed here", headers=[("allow", methods)])


def _status(status: int, word: str) -> Answer:
    return Answer(status, [_JSON, ("cache-control", "no-store")], orjson.dumps({"status": word}))
