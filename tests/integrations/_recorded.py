"""Recorded and hand-written answers on a real socket, asked for through the official clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anthropic
import httpx2
import openai

from tests.upstreams.conftest import Exchange, RawServer, Wire

__all__ = ["ANSWERS", "Seen", "bare", "recorded", "said", "serving"]

FIXTURES: Final = Path(__file__).parent.parent / "fixtures"


@dataclass(frozen=True, slots=True)
class Answer:
    """One recorded response, and how to ask for it."""

    folder: str
    name: str
    stored: bool
    finished: bool = False
    """Its cut (``length``) is taken for an end: the recordings were made with few tokens."""

    @property
    def id(self) -> str:
        return f"{self.folder}-{self.name}{'-finished' if self.finished else ''}"

    @property
    def streamed(self) -> bool:
        return self.raw().partition(b"\r\n\r\n")[0].lower().find(b"text/event-stream") >= 0 or (
            self.name.endswith(("_stream", "_midstream"))
        )

    def raw(self) -> bytes:
        return (FIXTURES / self.folder / f"{self.name}.http").read_bytes()

    def parts(self) -> list[bytes]:
        """What goes over the socket, in awkward pieces; the connection closes at the end."""
        head, _, body = self.raw().partition(b"\r\n\r\n")
        body = body.removesuffix(b"\ncurl rc 0\n")
        if self.finished:
            body = body.replace(b'"finish_reason":"length"', b'"finish_reason":"stop"')
        lines = [
            line
            for line in head.split(b"\r\n")
            if not line.lower().startswith((b"content-length", b"transfer-encoding", b"connection"))
        ]
        closing = [b"\r\n".join([*lines, b"connection: close"]) + b"\r\n\r\n"]
        return closing + [body[start : start + 700] for start in range(0, len(body), 700)]


def _answers() -> list[Answer]:
    found = []
    for folder, never in _NEVER.items():
        for path in sorted((FIXTURES / folder).glob("*.http")):
            if path.stem in _BY_INPUT:
                continue
            failed = path.stem.startswith(("4", "5", "err", "openai_4"))
            found.append(Answer(folder, path.stem, stored=not failed and path.stem not in never))
    found += [Answer("vllm-0.32", name, stored=True, finished=True) for name in ("chat_basic", "stream_n2")]
    return found


_NEVER: Final[dict[str, frozenset[str]]] = {
    "vllm-0.32": frozenset(
        {
            # cut by their token limit
            "chat_basic",
            "chat_nodetails",
            "priority_fcfs",
            "reasoning_stream",
            "stream_n2",
            "tool_named",
            "tool_required_stream",
            "tool_stream_named",
            # no answer
            "midstream_engine_death",
            "reset_while_running",
        }
    ),
    "anthropic": frozenset(
        {
            "broken_off",
            "empty",
            "empty_stream",
            "max_tokens",
            "max_tokens_stream",
            "max_tokens_tool_stream",
            "midstream_overloaded",
            "pause_turn",
            "refusal",
            "refusal_midway_stream",
            "tool_broken_stream",
            "web_search_failed_stream",
        }
    ),
    "openai-responses": frozenset(
        {
            "cut",
            "cut_stream",
            "empty",
            "empty_stream",
            "error_stream",
            "failed_stream",
            "refusal",
            "refusal_stream",
            "vllm_last_word_stream",
        }
    ),
    "openai-completions": frozenset(
        {
            "openai_content_filter_stream",
            "openai_cut_by_length",
            "openai_cut_by_length_stream",
            "openai_empty",
            "openai_empty_stream",
            "openai_error_midstream",
        }
    ),
    "openai-embeddings": frozenset({"flat_error_200", "nan_base64", "no_data", "one_missing"}),
}
"""By folder, what must not be stored beside the error documents."""

_BY_INPUT: Final = frozenset({"empty_vector", "out_of_order", "vllm_batch"})
"""Batches, stored input by input: half of them in the first, in order in the second, and in the third without
a null among the details of the usage, which are those of one call."""

ANSWERS: Final = _answers()


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[RawServer]:
    """A server that answers everything so."""

    async def handler(exchange: Exchange) -> None:
        await exchange.send(*answer.parts())
        exchange.writer.close()

    async with Wire.server(handler) as raw:
        yield raw


def bare() -> httpx2.AsyncHTTPTransport:
    """The library's own transport, without the certificates that it would load each time."""
    return httpx2.AsyncHTTPTransport(verify=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client's caller got: objects in order, and the error that ended them."""

    objects: tuple[Any, ...]
    error: tuple[Any, ...] | None


async def said(answer: Answer, base_url: str, transport: httpx2.AsyncBaseTransport | None = None) -> Seen:
    """Ask through the official client of the answer's protocol."""
    objects: list[Any] = []
    try:
        async with httpx2.AsyncClient(transport=transport or bare()) as client:
            await _asked(answer, base_url, client, objects.append)
    except (openai.APIError, anthropic.APIError, httpx2.HTTPError) as error:
        words = str(error)
        return Seen(tuple(objects), (type(error), getattr(error, "status_code", None), words))
    return Seen(tuple(objects), None)


async def _asked(
    answer: Answer, base_url: str, client: httpx2.AsyncClient, keep: Callable[[Any], None]
) -> None:
    messages: Any = [{"role": "user", "content": "hello"}]
    made: Any
    if answer.folder == "anthropic":
        root = base_url.removesuffix("/v1")
        sdk = anthropic.AsyncAnthropic(base_url=root, api_key="k", http_client=client, max_retries=0)
        made = sdk.messages.create
        asked = {"model": "m", "messages": messages, "max_tokens": 100}
    else:
        own = openai.AsyncOpenAI(base_url=base_url, api_key="k", http_client=client, max_retries=0)
        if answer.folder == "openai-responses":
            made, asked = own.responses.create, {"model": "m", "input": "hello"}
        elif answer.folder == "openai-embeddings":
            form = "base64" if "base64" in answer.name else "float"
            made = own.embeddings.create
            asked = {"model": "m", "input": _INPUTS.get(answer.name, "a"), "encoding_format": form}
        elif answer.folder == "openai-completions":
            made = own.completions.create
            asked = {"model": "m", "prompt": "hello", **_ASKED.get(answer.name.removesuffix("_stream"), {})}
        else:
            two = {"n": 2, "stream_options": {"include_usage": True}} if "n2" in answer.name else {}
            made, asked = own.chat.completions.create, {"model": "m", "messages": messages, **two}
    if answer.streamed:
        async for event in await made(**asked, stream=True):
            keep(event.model_dump(warnings=False))
    else:
        keep((await made(**asked)).model_dump(warnings=False))


_INPUTS: Final[dict[str, Any]] = {
    "one_missing": ["a", "b", "c"],
    "openai_batch": ["a", "b", "c"],
    "openai_batch_base64": ["a", "b", "c"],
    "openai_tokens_batch": [[1, 2], [3]],
}
_ASKED: Final[dict[str, Any]] = {
    "openai_two_prompts_n2": {"prompt": ["a", "b"], "n": 2},
    "openai_logprobs": {"stream_options": {"include_usage": True}},
    "openai_plain": {"stream_options": {"include_usage": True}},
    "vllm_token_ids": {"stream_options": {"include_usage": True}},
}


def recorded(name: str) -> Answer:
    """The answer of that id."""
    return next(answer for answer in ANSWERS if answer.id == name)
