"""An upstream that says what a test tells it to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import anyio
import orjson

from asynccache._models import Request, Response
from asynccache._stream import Stream

__all__ = ["FakeUpstream"]

Frame: TypeAlias = "str | bytes | Mapping[str, Any] | Exception"
"""One event of a scripted stream: new text, a payload, a chunk document, or an error in mid-stream."""

Answer: TypeAlias = "str | Mapping[str, Any] | Exception | Sequence[Frame]"
"""A whole answer: its text, the document, the error to raise, or the frames of a stream."""

MODEL: Final = "asynccache-fake"  # what really answered, whatever model the request named


class FakeUpstream:
    """A scripted ``Upstream``; also usable as the async callable a pipeline accepts.

    Args:
        answers: used up in order, one a call. A call beyond them is answered ``"answer 3"`` when it
            is the third call, so that no two calls look alike. Text and documents answer both
            modes (of a document, a stream gives the first choice); a list of frames answers a
            stream only, and is sent as it stands, without an end frame of its own.
    """

    def __init__(self, *answers: Answer) -> None:
        self._answers: Iterator[Answer] = iter(answers)
        self._gate = anyio.Event()
        self._gate.set()
        self._arrival = anyio.Event()  # set by the next call, then replaced
        self.calls: list[Mapping[str, Any]] = []
        """The body of every call, in order of arrival."""
        self.in_flight = 0
        """Calls that have arrived, and neither ended nor been closed."""
        self.streams_closed = 0
        """Streams released by their reader, at the end or early."""

    def hold(self) -> None:
        """Make every call, and every further frame of running streams, wait for ``release``."""
        if self._gate.is_set():
            self._gate = anyio.Event()

    def release(self) -> None:
        """Let everything that waits go on."""
        self._gate.set()

    async def called(self, times: int = 1) -> None:
        """Wait until so many calls have arrived since this upstream was made."""
        while len(self.calls) < times:
            await self._arrival.wait()

    async def fetch(self, request: Request) -> Response:
        """The next answer, whole."""
        return Response(orjson.dumps(await self(request.body)))

    async def __call__(self, body: Mapping[str, Any], /) -> dict[str, Any]:
        """The next answer as a document."""
        number, answer = self._arrive(body)
        try:
            await self._gate.wait()
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, Mapping):
                return dict(answer)
            if isinstance(answer, str):
                return _document(number, body, answer)
        finally:
            self.in_flight -= 1
        raise TypeError("a list of frames was scripted for this call, which asked for a whole answer")

    async def stream(self, request: Request) -> Stream:
        """The next answer as a stream; an error scripted for it is raised here, not in the stream."""
        number, answer = self._arrive(request.body)
        try:
            await self._gate.wait()
            if isinstance(answer, Exception):
                raise answer
            frames = _frames(number, request.body, answer)
        except BaseException:
            self.in_flight -= 1
            raise
        source = self._send(number, frames)

        async def close() -> None:
            self.in_flight -= 1
            self.streams_closed += 1
            await source.aclose()

        return Stream(source, aclose=close)

    def _arrive(self, body: Mapping[str, Any]) -> tuple[int, Answer]:
        self.calls.append(body)
        self.in_flight += 1
        arrived, self._arrival = self._arrival, anyio.Event()
        arrived.set()
        number = len(self.calls)
        return number, next(self._answers, f"answer {number}")

    async def _send(self, number: int, frames: Sequence[Frame]) -> AsyncGenerator[bytes, None]:
        for frame in frames:
            await self._gate.wait()
            if isinstance(frame, Exception):
                raise frame
            if isinstance(frame, str):
                frame = _chunk(number, {"content": frame})  # noqa: PLW2901  (narrows to what is sent)
            yield frame if isinstance(frame, bytes) else orjson.dumps(frame)


def _document(number: int, body: Mapping[str, Any], text: str) -> dict[str, Any]:
    asked, answered = len(str(body).split()), len(text.split())
    return {
        "id": f"chatcmpl-fake-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered},
    }


def _chunk(number: int, delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-fake-{number}",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }


def _frames(number: int, body: Mapping[str, Any], answer: Answer) -> Sequence[Frame]:
    """The frames of an answer: the role, one frame a word, the end, and the usage if it was asked for."""
    if isinstance(answer, Exception):
        raise answer
    if not isinstance(answer, (str, Mapping)):
        return answer
    document = _document(number, body, answer) if isinstance(answer, str) else answer
    if "choices" not in document:
        return [document]
    message = document["choices"][0]["message"]
    deltas = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in _words(message.get("content") or "")]
    frames: list[Frame] = [_chunk(number, delta) for delta in deltas]
    rest = {name: value for name, value in message.items() if name not in {"role", "content"}}
    frames.append(_chunk(number, rest, document["choices"][0].get("finish_reason", "stop")))
    if (body.get("stream_options") or {}).get("include_usage") and "usage" in document:
        frames.append({**_chunk(number, {}), "choices": [], "usage": document["usage"]})
    return frames


def _words(text: str) -> list[str]:
    """Pieces that join to the text again: each word with the blanks before it."""
    pieces: list[str] = []
    for index, word in enumerate(text.split(" ")):
        pieces.append(word if index == 0 else f" {word}")
    return [piece for piece in pieces if piece]
