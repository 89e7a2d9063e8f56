"""The transcripts of the Messages protocol, and a server that answers with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from asynccache._models import Response
from asynccache.dialects.messages import Messages
from tests.upstreams.conftest import Exchange, RawServer, Wire

MESSAGES: Final = Messages()
RECORDINGS: Final = Path(__file__).parents[1] / "fixtures" / "anthropic"
NAMES: Final = sorted(path.stem for path in RECORDINGS.glob("*.http"))
ASKED: Final[dict[str, Any]] = {
    "model": "claude-example-1",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Hello"}],
}


class Recording(NamedTuple):
    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(maxsplit=2)[1])

    @property
    def streamed(self) -> bool:
        return b"text/event-stream" in self.head

    @property
    def frames(self) -> tuple[bytes, ...]:
        lines = [line.removeprefix(b"data: ") for line in self.body.splitlines() if line[:6] == b"data: "]
        return tuple(line for line in lines if line != b"[DONE]")

    @property
    def response(self) -> Response:
        """What an upstream would hand on."""
        return Response(MESSAGES.assemble(self.frames), self.frames) if self.streamed else Response(self.body)

    @property
    def sent(self) -> bytes:
        """As it goes over the wire, in chunks of an awkward size where it is a stream."""
        return b"".join([self.head, *Wire.chunks(self.body, 97)]) if self.streamed else self.head + self.body


def recording(name: str) -> Recording:
    head, _, body = (RECORDINGS / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
    return Recording(head + b"\r\n\r\n", body)


def whole(document: bytes, status: int = 200) -> bytes:
    """An unstreamed answer as it goes over the wire."""
    return Wire.whole(status, document)


def streamed(frames: Sequence[bytes]) -> bytes:
    """A stream of this dialect's events as it goes over the wire."""
    body = b"".join(map(MESSAGES.event, frames)) + MESSAGES.closing
    return b"".join([Wire.events_head(), *Wire.chunks(body, 101)])


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[RawServer]:
    """A server that gives these answers to its first, second … request, and the last one to all others."""
    left = list(answers)

    async def answer(exchange: Exchange) -> None:
        await exchange.send(left.pop(0) if len(left) > 1 else left[0])

    async with Wire.server(answer) as raw:
        yield raw
