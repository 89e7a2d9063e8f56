"""The chat-completions protocol: OpenAI's, and what vLLM and other servers make of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from asynccache.dialects._chat_assemble import assemble
from asynccache.dialects._chat_check import check
from asynccache.dialects._chat_identity import identity
from asynccache.dialects._chat_question import split
from asynccache.dialects._chat_replay import replay
from asynccache.dialects._chat_verdict import verdict
from asynccache.dialects._choices_progress import ChoicesProgress
from asynccache.dialects._choices_replay import replayable
from asynccache.dialects._faults import parsed
from asynccache.dialects._openai import DONE, event, failure, renewed
from asynccache.dialects._usage import cost
from asynccache.dialects._vllm import bypass

if TYPE_CHECKING:
    from asynccache._models import Cost, History, Response
    from asynccache._protocols import Progress

__all__ = ["ChatCompletions"]


class ChatCompletions:
    """``POST /v1/chat/completions``. Stateless; every method keeps the promise of ``Dialect``."""

    name: str = "chat.completions"
    path: str = "/chat/completions"
    closing: bytes = DONE
    repeats: bool = False

    def check(self, body: Mapping[str, Any]) -> None:
        """Refuse a body that no upstream of this protocol could take.

        Fields it does not know pass: an upstream may know them.

        Raises:
            InvalidRequest: naming the field.
        """
        check(body)

    def identity(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Every field of a checked body except the neutral ones, equal spellings made equal.

        Args:
            body: plain JSON data that passed ``check``.
        """
        return identity(body)

    def split(self, identity: Mapping[str, Any], history: History = "equal") -> tuple[Any, str | None]:
        """(context, question): the text of the last user message, and all that must be equal beside it.

        The context holds every field, the images and files of that message and the place of the text
        among them. An image is what the request says of it: its bytes in a data URL, its address
        otherwise, as in the exact key.

        question is None when the last message is not a user's, has no text or several (which of them
        asks, and which is a document asked about, nobody can tell), and when the answer repeats or goes
        on with the very words of the question (``continue_final_message``, ``prompt_logprobs`` …).

        Args:
            identity: what ``identity`` returned.
            history: which earlier messages the context holds. ``"equal"``: all, those about tools too.
                n: the instructions (system and developer messages, wherever they stand) and the last n
                of the others. ``"ignore"``: the instructions alone. What was said since the last answer
                is part of the question's own turn and always held. With n and ``"ignore"`` question is
                None also when messages about tools are among those held.
        """
        return split(identity, history)

    def bypass(self, body: Mapping[str, Any]) -> str | None:
        """A reason why this request must never touch the cache, or None."""
        return bypass(body)

    def verdict(self, body: Mapping[str, Any], response: Response) -> str | None:
        """A short reason, free of content, why this answer must not be stored; or None."""
        return verdict(body, response)

    def assemble(self, frames: Sequence[bytes]) -> bytes:
        """The document an unstreamed call would have returned.

        An answer that broke off is assembled as far as it goes; ``verdict`` refuses it.

        Raises:
            ValueError: the frames are no chat-completion chunks, or hold no choice.
        """
        return assemble(frames)

    def replay(self, body: Mapping[str, Any], response: Response) -> Iterable[bytes]:
        """The frames of a stored answer: as recorded, or made from the document.

        Usage that stands in a frame of its own is sent only if the request asks for it.

        Raises:
            ValueError: the stored document is no chat completion.
        """
        return replay(body, response)

    def replayable(self, body: Mapping[str, Any], response: Response) -> str | None:
        """A reason why the stored answer lacks something this request asks of a stream, or None."""
        return replayable(body, response)

    def progress(self) -> Progress:
        """Complete when every choice that appeared has a finish reason, and at least one did."""
        return ChoicesProgress()

    def event(self, frame: bytes) -> bytes:
        """``data:`` and the frame."""
        return event(frame)

    def addressed(self, body: Mapping[str, Any], payload: bytes) -> bytes:
        """The very payload: nothing in it tells of the request."""
        del body
        return payload

    def renewed(self, payload: bytes, *, token: str, now: int) -> bytes:
        """With a new ``id`` and ``created``."""
        return renewed(payload, prefix="chatcmpl-", token=token, now=now)

    def failure(self, status: int, message: str, *, field: str | None = None) -> bytes:
        """An ``error`` object in OpenAI's shape."""
        return failure(status, message, field=field)

    def acts(self, response: Response) -> bool:
        """Whether a tool or function is called; what cannot be read may do so."""
        body = response.body
        if b'"tool_calls"' not in body and b'"function_call"' not in body:
            return False
        document = parsed(body, "the answer")
        choices = None if isinstance(document, str) else document.get("choices")
        return not isinstance(choices, list) or any(map(_calls, choices))

    def text(self, document: Any) -> str:
        """The first choice's text; the text parts joined where the content is a list; "" when none."""
        return _text(_first(document, "message"))

    def delta(self, document: Any) -> str:
        """The first choice's new text of one parsed frame; "" when there is none."""
        return _text(_first(document, "delta"))

    def cost(self, response: Response) -> Cost:
        """Tokens the upstream reported; 0 where it reported none."""
        return cost(response)

    def answer(self, body: Mapping[str, Any], text: str) -> dict[str, Any]:
        """A document around plain text, with a fresh id and no usage, for upstreams that return a string."""
        model = body.get("model")
        message = {"role": "assistant", "content": text}
        return {
            "id": f"chatcmpl-{uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model if isinstance(model, str) else "callable",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        }


def _calls(choice: Any) -> bool:
    message = choice.get("message") if isinstance(choice, dict) else None
    return not isinstance(message, dict) or bool(message.get("tool_calls") or message.get("function_call"))


def _first(document: Any, part: str) -> Any:
    choices = document.get("choices") if isinstance(document, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("index", 0) == 0:
            return choice.get(part)
    return None


def _text(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))
