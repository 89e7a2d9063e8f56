"""What is asked and answered in every benchmark, and the model that answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

Body: TypeAlias = dict[str, Any]
Answer: TypeAlias = dict[str, Any]
Ask: TypeAlias = Callable[[Body], Awaitable[Answer]]

_SYSTEM: Final = "You are a support assistant. Answer briefly, from the manual only, and cite its sections. "
_USER: Final = "My device shows error {index:06d} after the latest update: what does it mean, what do I do? "
_ANSWER: Final = "Error {index:06d} means that the update was interrupted. Hold the button for ten seconds. "


def request_body(index: int) -> Body:
    """A chat-completions request of 550 bytes of JSON; no two indexes have the same."""
    return {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": _SYSTEM * 2},
            {"role": "user", "content": _USER.format(index=index) * 2 + "The manual says nothing."},
        ],
        "temperature": 0,
        "max_tokens": 512,
        "seed": index,
        "response_format": {"type": "text"},
    }


def answer_document(index: int) -> Answer:
    """The chat completion that answers it, about 1,485 bytes of JSON."""
    message = {"role": "assistant", "content": _ANSWER.format(index=index) * 14, "refusal": None}
    return {
        "id": f"chatcmpl-{index:012x}",
        "object": "chat.completion",
        "created": 1_790_000_000 + index,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 110, "completion_tokens": 260, "total_tokens": 370},
    }


class Upstream:
    """The model behind a variant: knows its answers beforehand, and counts.

    Args:
        answers: by the ``seed`` of the request.
        pause: awaited by every call; without one, a call does not even suspend.
    """

    def __init__(self, answers: Sequence[Answer], pause: Callable[[], Awaitable[None]] | None = None) -> None:
        self._answers = answers
        self._pause = pause
        self.calls = 0

    async def __call__(self, body: Body) -> Answer:
        self.calls += 1
        if self._pause is not None:
            await self._pause()
        return self._answers[body["seed"]]
