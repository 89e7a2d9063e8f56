"""What the stand-in server says. Pure, and the same for the same request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

import orjson

__all__ = ["FINGERPRINT", "MODEL", "Answer", "RefusedRequest"]

MODEL: Final = "asynccache-stand-in"
FINGERPRINT: Final = "stand-in"

_CREATED: Final = 1_767_225_600
"""2026-01-01, the date of every answer: the same request gets the same bytes."""

_MAX_CHOICES: Final = 128
_WORD: Final = re.compile(r"\s*\S+")
"""What counts as a token here: a word and the space before it."""


class RefusedRequest(Exception):
    """The request is not one a server of this protocol would take."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param

    def body(self) -> bytes:
        """The error document, in vLLM's shape."""
        error = {"message": str(self), "type": "BadRequestError", "param": self.param, "code": 400}
        return orjson.dumps({"error": error})


@dataclass(frozen=True, slots=True)
class _Choice:
    words: tuple[str, ...]
    finish_reason: str


class Answer:
    """The answer to one chat-completion request.

    Args:
        body: the request body.
        known: what to say to certain questions, in place of the question's own words.

    Raises:
        RefusedRequest: it cannot be answered.
    """

    def __init__(self, body: Any, known: Mapping[str, str] = MappingProxyType({})) -> None:
        if not isinstance(body, Mapping):
            raise RefusedRequest("the body must be a JSON object", "body")
        self._messages = _messages(body)
        self.streamed: Final = body.get("stream") is True
        options = body.get("stream_options")
        if options is not None and not self.streamed:
            raise RefusedRequest("stream_options can only be set when stream is true", "stream_options")
        self._with_usage = isinstance(options, Mapping) and options.get("include_usage") is True
        count = _whole(body, "n", 1)
        if count > _MAX_CHOICES:
            raise RefusedRequest(f"n must be at most {_MAX_CHOICES}", "n")
        limit = _whole(body, "max_completion_tokens", _whole(body, "max_tokens", None))
        text = _text(self._messages, body, known)
        self._choices = [_cut(text, _stops(body), limit) for _ in range(count)]
        self._id = f"standin-{sha256(orjson.dumps(dict(body), option=orjson.OPT_SORT_KEYS)).hexdigest()[:24]}"

    @property
    def tokens(self) -> int:
        """Words of the longest choice: choices are made side by side."""
        return max(len(choice.words) for choice in self._choices)

    def document(self) -> bytes:
        """The whole answer."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": "".join(choice.words)},
                "logprobs": None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(self._choices)
        ]
        return orjson.dumps({**self._outer("chat.completion"), "choices": choices, "usage": self._usage()})

    def frames(self) -> Iterator[list[bytes]]:
        """The events of the streamed answer, a list for each step in time: opening, words, end."""
        yield [
            self._chunk(index, {"role": "assistant", "content": ""}) for index in range(len(self._choices))
        ]
        for step in range(self.tokens):
            yield [
                self._chunk(index, {"content": choice.words[step]})
                for index, choice in enumerate(self._choices)
                if step < len(choice.words)
            ]
        end = [self._chunk(index, {}, choice.finish_reason) for index, choice in enumerate(self._choices)]
        if self._with_usage:
            outer = self._outer("chat.completion.chunk")
            end.append(orjson.dumps({**outer, "choices": [], "usage": self._usage()}))
        yield end

    def _chunk(self, index: int, delta: Mapping[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return orjson.dumps({**self._outer("chat.completion.chunk"), "choices": [choice]})

    def _outer(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": _CREATED,
            "model": MODEL,
            "system_fingerprint": FINGERPRINT,
        }

    def _usage(self) -> dict[str, int]:
        asked = sum(len(_WORD.findall(_content(message))) for message in self._messages)
        made = sum(len(choice.words) for choice in self._choices)
        return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}


def _messages(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedRequest("messages must be a list of at least one message", "messages")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise RefusedRequest("a message must be an object with a role", f"messages[{index}]")
    return messages


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = (part.get("text") for part in parts if isinstance(part, Mapping))
    return " ".join(text for text in texts if isinstance(text, str))


def _text(messages: list[Mapping[str, Any]], body: Mapping[str, Any], known: Mapping[str, str]) -> str:
    asked = next((_content(message) for message in reversed(messages) if message["role"] == "user"), "")
    text = known.get(asked)
    if text is None:
        mark = sha256(asked.encode(errors="replace")).hexdigest()[:8]
        text = f"Stand-in answer {mark}, made without any model. You said: {asked}"
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if kind == "json_schema":
        raise RefusedRequest("the stand-in cannot follow a schema", "response_format")
    return orjson.dumps({"answer": text}).decode() if kind == "json_object" else text


def _cut(text: str, stops: list[str], limit: int | None) -> _Choice:
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    words = _WORD.findall(text[: min(found)] if found else text)
    if limit is not None and len(words) > limit:
        return _Choice(tuple(words[:limit]), "length")
    return _Choice(tuple(words), "stop")


def _stops(body: Mapping[str, Any]) -> list[str]:
    stop = body.get("stop")
    stops = [stop] if isinstance(stop, str) else (stop or [])
    if not isinstance(stops, list) or not all(isinstance(one, str) and one for one in stops):
        raise RefusedRequest("stop must be a string or a list of strings, none of them empty", "stop")
    return stops


def _whole(body: Mapping[str, Any], name: str, default: Any) -> Any:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RefusedRequest(f"{name} must be a whole number of at least 1", name)
    return value
