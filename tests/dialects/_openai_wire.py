"""Transcripts of OpenAI's older protocols, and a server that says them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import openai

from tests.upstreams.conftest import Exchange, RawServer, Wire

__all__ = ["Transcript", "asking", "names", "served", "transcript"]

_FIXTURES: Final = Path(__file__).parents[1] / "fixtures"


class Transcript(NamedTuple):
    """One HTTP response."""

    head: bytes
    """With its blank line."""
    body: bytes
    """Not chunked."""

    @property
    def status(self) -> int:
        return int(self.head.split(maxsplit=2)[1])

    @property
    def streamed(self) -> bool:
        return b"text/event-stream" in self.head

    @property
    def frames(self) -> tuple[bytes, ...]:
        """The payloads of a stream, without ``[DONE]``."""
        events = self.body.strip().split(b"\n\n")
        payloads = [event.removeprefix(b"data: ") for event in events]
        return tuple(payload for payload in payloads if payload != b"[DONE]") if self.streamed else ()

    @property
    def wire(self) -> bytes:
        """As it goes over a connection."""
        if not self.streamed:
            return self.head + self.body
        return self.head + b"".join(Wire.chunks(self.body, 17))


def names(folder: str) -> list[str]:
    """Every transcript of a folder."""
    return sorted(path.stem for path in (_FIXTURES / folder).glob("*.http"))


def transcript(folder: str, name: str) -> Transcript:
    """One of them."""
    head, _, body = (_FIXTURES / folder / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
    return Transcript(head + b"\r\n\r\n", body)


@asynccontextmanager
async def served(*answers: bytes) -> AsyncIterator[RawServer]:
    """A server that answers its first, second … request with these bytes, and the last from then on."""
    left = list(answers)

    async def answer(exchange: Exchange) -> None:
        await exchange.send(left.pop(0) if len(left) > 1 else left[0])

    async with Wire.server(answer) as server:
        yield server


@asynccontextmanager
async def asking(*answers: bytes) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client before such a server."""
    async with (
        served(*answers) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client,
    ):
        yield client
