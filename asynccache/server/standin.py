"""A stand-in for an OpenAI-compatible server: for demos, examples and tests that should not need a model.

It never pretends: the model it reports is ``asynccache-stand-in``, and each answer it was not given
begins with words that say so. ``python -m asynccache.server.standin --port 8000`` runs one by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
import orjson

from asynccache._errors import ConfigurationError
from asynccache._lifespan import Nursery
from asynccache.server._standin_answer import MODEL, Answer, RefusedRequest

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route
except ImportError as error:
    raise ConfigurationError(
        f'the stand-in server needs {(error.name or "").partition(".")[0]}; pip install "asynccache[server]"'
    ) from error

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["StandIn", "Stats"]

_GRACE_SECONDS: Final = 1
"""How long a client that is slow to read may hold up the end."""

_LEAVE_SECONDS: Final = 5.0
"""The end itself takes uvicorn a few tenths of a second; past this it is cancelled."""


@dataclass(slots=True)
class Stats:
    """What the server has seen since it was made; also at ``/stats``, as JSON.

    Args:
        requests: chat-completion requests taken.
        streams: those of them that asked for a stream.
        completed: answers sent to their end.
        disconnected: streams that ended early, because their client or the server left.
        refused: requests answered with 400.
    """

    requests: int = 0
    streams: int = 0
    completed: int = 0
    disconnected: int = 0
    refused: int = 0


class StandIn:
    """Answers chat completions deterministically, from the last user message; no model is involved.

    ``stream``, ``stream_options.include_usage``, ``n``, ``stop``, ``max_tokens`` and the JSON-object format
    do what they say; a token is a word. Use as ``async with StandIn() as server``, which serves on the
    running event loop, or take ``app`` to serve elsewhere.

    Args:
        latency: seconds until the first token. May be changed while it runs.
        per_token: seconds for each token after it. May be changed while it runs.
        port: on 127.0.0.1; 0 takes a free one.
        answers: what to say to certain questions, by the text of the last user message; to all others it
            says their own words. Default None: to all of them.

    Raises:
        ConfigurationError: on import, when the ``server`` extra is not installed.
    """

    def __init__(
        self,
        *,
        latency: float = 0.0,
        per_token: float = 0.0,
        port: int = 0,
        answers: Mapping[str, str] | None = None,
    ) -> None:
        self.latency = latency
        self.per_token = per_token
        self.stats: Final = Stats()
        self.app: Final = Starlette(
            routes=[
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/stats", self._stats),
            ]
        )
        self._port: Final = port
        self._known: Final = {} if answers is None else answers
        self._address: tuple[str, int] | None = None  # known while it listens
        self._open: AsyncExitStack | None = None
        self._closing = asyncio.Event()  # ends every wait; a fresh one for each opening, as loops differ

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL. Raises RuntimeError when the server does not listen."""
        if self._address is None:
            raise RuntimeError("the stand-in server is not running")
        host, port = self._address
        return f"http://{host}:{port}/v1"

    async def __aenter__(self) -> Self:
        if self._open is not None:
            raise RuntimeError("the stand-in server is already running")
        async with AsyncExitStack() as stack:
            listener = stack.enter_context(self.listen())
            nursery = Nursery()
            await stack.enter_async_context(nursery.lifespan())
            server, stopped = _server(self.app), anyio.Event()
            self._closing = asyncio.Event()

            async def serve() -> None:
                try:
                    await server.serve(sockets=[listener])
                finally:
                    stopped.set()

            async def stop() -> None:
                self._closing.set()
                server.should_exit = True
                with anyio.move_on_after(_LEAVE_SECONDS, shield=True):
                    await stopped.wait()

            nursery.start(serve)
            stack.push_async_callback(stop)
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        stack, self._open = self._open, None
        if stack is not None:
            await stack.aclose()

    @contextmanager
    def listen(self) -> Iterator[socket.socket]:
        """Bind the port; connections wait from now on until a server takes them."""
        with socket.create_server(("127.0.0.1", self._port)) as listener:
            listener.setblocking(False)  # noqa: FBT003  (the socket's own signature)
            # asyncio sets it only for sockets that say they are TCP; without it, answers wait for an ACK.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._address = listener.getsockname()
            try:
                yield listener
            finally:
                self._address = None

    async def _complete(self, request: Request) -> Response:
        self.stats.requests += 1
        try:
            answer = Answer(_json(await request.body()), self._known)
        except RefusedRequest as error:
            self.stats.refused += 1
            return Response(error.body(), 400, media_type="application/json")
        if answer.streamed:
            self.stats.streams += 1
            return StreamingResponse(self._events(answer), media_type="text/event-stream")
        if not await self._waited(self.latency + self.per_token * max(0, answer.tokens - 1)):
            return Response(status_code=503)
        self.stats.completed += 1
        return Response(answer.document(), media_type="application/json")

    async def _events(self, answer: Answer) -> AsyncIterator[bytes]:
        complete = False
        try:
            for step, frames in enumerate(answer.frames()):
                between = self.per_token if 1 < step <= answer.tokens else 0.0
                if not await self._waited(self.latency if step == 0 else between):
                    return
                for frame in frames:
                    yield b"data: " + frame + b"\n\n"
            complete = True
            yield b"data: [DONE]\n\n"
        finally:
            if complete:
                self.stats.completed += 1
            else:
                self.stats.disconnected += 1

    async def _waited(self, seconds: float) -> bool:
        """Whether the time could pass before the server was told to end."""
        with anyio.move_on_after(seconds):
            await self._closing.wait()
        return not self._closing.is_set()

    async def _models(self, _: Request) -> Response:
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "asynccache"}
        return Response(orjson.dumps({"object": "list", "data": [model]}), media_type="application/json")

    async def _stats(self, _: Request) -> Response:
        return Response(orjson.dumps(asdict(self.stats)), media_type="application/json")


class _QuietServer(uvicorn.Server):
    """A server inside somebody's program, whose signals are not ours to handle."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: Starlette, kind: type[uvicorn.Server] = _QuietServer) -> uvicorn.Server:
    return kind(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedRequest("the body is not JSON", "body") from error


def main(arguments: list[str] | None = None) -> None:
    """Run a stand-in server until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m asynccache.server.standin", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds until the first token")
    parser.add_argument("--per-token", type=float, default=0.0, help="seconds for each token after it")
    given = parser.parse_args(arguments)
    stand_in = StandIn(latency=given.latency, per_token=given.per_token, port=given.port)
    with stand_in.listen() as listener:
        sys.stdout.write(f"stand-in server at {stand_in.base_url} (no model; Ctrl+C ends it)\n")
        sys.stdout.flush()
        _server(stand_in.app, uvicorn.Server).run(sockets=[listener])


if __name__ == "__main__":
    main()
