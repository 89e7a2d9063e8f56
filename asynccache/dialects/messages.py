"""The Messages protocol: Anthropic's, and what vLLM and other servers make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from asynccache._models import Cost, History, Response
from asynccache.dialects._faults import parsed
from asynccache.dialects._messages_assemble import assemble
from asynccache.dialects._messages_check import check
from asynccache.dialects._messages_identity import identity
from asynccache.dialects._messages_progress import MessageProgress
from asynccache.dialects._messages_question import split
from asynccache.dialects._messages_replay import replay
from asynccache.dialects._messages_verdict import verdict
from asynccache.dialects._messages_wire import event, failure, renewed

if TYPE_CHECKING:
    from asynccache._protocols import Progress

__all__ = ["Messages"]

_BYPASSING = ("container", "thread", "kv_transfer_params", "ec_transfer_params")
"""State that a server keeps or hands over: the answer is of use to this one request only."""

_PROMPT_TOKENS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
"""The protocol counts a token of the prompt in exactly one of them."""


class Messages:
    """``POST /v1/messages``. Stateless; every method keeps the promise of ``Dialect``.

    Beta features that are asked for by a header are part of the request: who takes requests over HTTP puts
    what the header says into the scope.
    """

    name: str = "messages"
    path: str = "/messages"
    closing: bytes = b""
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

        A text and a list of one text block are the same; ``cache_control`` is left out wherever the
        protocol has it, because it only tells the upstream what to keep of the prompt.

        Args:
            body: plain JSON data that passed ``check``.
        """
        return identity(body)

    def split(self, identity: Mapping[str, Any], history: History = "equal") -> tuple[Any, str | None]:
        """(context, question): the text of the last user message, and all that must be equal beside it.

        The context holds every field, the images and documents of that message and the place of the text
        among them.

        question is None when the last message is not a user's (a prefilled answer too), has no text or
        several, or brings the results of tools.

        Args:
            identity: what ``identity`` returned.
            history: which earlier messages the context holds. ``"equal"``: all, those about tools too.
                n: the instructions (system messages, wherever they stand) and the last n of the others.
                ``"ignore"``: the instructions alone. What was said since the last answer is part of the
                question's own turn and always held. With n and ``"ignore"`` question is None also when
                messages about tools are among those held.
        """
        return split(identity, history)

    def bypass(self, body: Mapping[str, Any]) -> str | None:
        """A reason why this request must never touch the cache, or None.

        So are requests that go on with state a server keeps (``container``, ``thread``), that let it act
        elsewhere (``mcp_servers``), or that want no answer (``max_tokens`` 0 fills the upstream's own cache).
        """
        for name in _BYPASSING:
            if body.get(name) is not None:
                return f"{name} is set"
        if body.get("mcp_servers"):
            return "mcp_servers is set"
        return "max_tokens is 0" if body.get("max_tokens") == 0 else None

    def verdict(self, body: Mapping[str, Any], response: Response) -> str | None:
        """A short reason, free of content, why this answer must not be stored; or None."""
        return verdict(body, response)

    def assemble(self, frames: Sequence[bytes]) -> bytes:
        """The message an unstreamed call would have returned.

        An answer that broke off is assembled as far as it goes, and a tool's input that is no JSON is left
        as the text that came; ``verdict`` refuses both.

        Raises:
            ValueError: the frames are no events of a message, carry an error, or bring a kind of delta
                that is not known.
        """
        return assemble(frames)

    def replay(
        self,
        body: Mapping[str, Any],  # noqa: ARG002  (whoever asks, the events are the same)
        response: Response,
    ) -> Iterable[bytes]:
        """The frames of a stored answer: as recorded, pings too, or made from the document.

        Raises:
            ValueError: the stored document is no message.
        """
        return replay(response)

    def replayable(self, body: Mapping[str, Any], response: Response) -> str | None:  # noqa: ARG002  (no request asks for more)
        """None: a stream of this protocol holds what its document holds."""
        return None

    def progress(self) -> Progress:
        """Complete when the message has begun, has a stop reason, and ``message_stop`` has come."""
        return MessageProgress()

    def event(self, frame: bytes) -> bytes:
        """``event:`` and the frame's type, ``data:`` and the frame."""
        return event(frame)

    def addressed(self, body: Mapping[str, Any], payload: bytes) -> bytes:
        """The very payload: nothing in it tells of the request."""
        del body
        return payload

    def renewed(self, payload: bytes, *, token: str, now: int) -> bytes:  # noqa: ARG002  (it has no place)
        """With a new ``id``; the protocol tells no creation time."""
        return renewed(payload, token=token)

    def failure(
        self,
        status: int,
        message: str,
        *,
        field: str | None = None,  # noqa: ARG002  (it has no place)
    ) -> bytes:
        """An error in Anthropic's shape, which has no place for the field beside the message."""
        return failure(status, message)

    def acts(self, response: Response) -> bool:
        """Whether a tool of the caller's is called; the server's own have run already.

        What cannot be read may call one.
        """
        if b'"tool_use"' not in response.body:
            return False
        document = parsed(response.body, "the answer")
        blocks = None if isinstance(document, str) else document.get("content")
        return not isinstance(blocks, list) or any(
            not isinstance(block, dict) or block.get("type") == "tool_use" for block in blocks
        )

    def text(self, document: Any) -> str:
        """The text blocks joined; "" when there is none."""
        blocks = document.get("content") if isinstance(document, dict) else None
        return "".join(_text(block, "text") for block in (blocks if isinstance(blocks, list) else ()))

    def delta(self, document: Any) -> str:
        """The new text of one parsed event; "" when it brings none."""
        match document:
            case {"type": "content_block_delta", "delta": delta}:
                return _text(delta, "text_delta")
            case {"type": "content_block_start", "content_block": block}:
                return _text(block, "text")
            case _:
                return ""

    def cost(self, response: Response) -> Cost:
        """Tokens the upstream reported, those of its prompt cache among them; 0 where it reported none."""
        try:
            document = orjson.loads(response.body)
        except ValueError:
            return Cost()
        usage = document.get("usage") if isinstance(document, dict) else None
        if not isinstance(usage, dict):
            return Cost()
        prompt = sum(_tokens(usage.get(name)) for name in _PROMPT_TOKENS)
        return Cost(prompt, _tokens(usage.get("output_tokens")))

    def answer(self, body: Mapping[str, Any], text: str) -> dict[str, Any]:
        """A message around plain text, with a fresh id, for upstreams that return a string.

        Its usage counts no tokens; it is there because clients of this protocol rely on it.
        """
        model = body.get("model")
        return {
            "id": f"msg_{uuid4().hex}",
            "type": "message",
            "role": "assistant",
            "model": model if isinstance(model, str) else "callable",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }


def _text(part: Any, kind: str) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == kind else None
    return text if isinstance(text, str) else ""


def _tokens(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
