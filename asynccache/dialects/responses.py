"""The Responses protocol: OpenAI's, and what vLLM and other servers make of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from asynccache._models import Cost, History, Response
from asynccache.dialects._faults import parsed
from asynccache.dialects._openai import failure
from asynccache.dialects._responses_check import check
from asynccache.dialects._responses_events import ResponsesProgress, addressed, assemble, event, renewed
from asynccache.dialects._responses_identity import identity
from asynccache.dialects._responses_output import acts, message_texts
from asynccache.dialects._responses_question import split
from asynccache.dialects._responses_replay import replay
from asynccache.dialects._responses_tools import bypass
from asynccache.dialects._responses_verdict import verdict
from asynccache.dialects._usage import cost

if TYPE_CHECKING:
    from asynccache._protocols import Progress

__all__ = ["Responses"]


class Responses:
    """``POST /v1/responses``. Stateless; every method keeps the promise of ``Dialect``."""

    name: str = "responses"
    path: str = "/responses"
    closing: bytes = b""
    repeats: bool = True

    def check(self, body: Mapping[str, Any]) -> None:
        """Refuse a body that no upstream of this protocol could take.

        Fields it does not know pass: an upstream may know them.

        Raises:
            InvalidRequest: naming the field.
        """
        check(body)

    def identity(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Every field of a checked body except the neutral ones, equal spellings made equal.

        A string as input, a user's message of it, and that message with it as its one ``input_text`` part
        are the same. ``store`` counts: an answer that the server did not keep cannot be continued.

        Args:
            body: plain JSON data that passed ``check``.
        """
        return identity(body)

    def split(self, identity: Mapping[str, Any], history: History = "equal") -> tuple[Any, str | None]:
        """(context, question): the text of the last input item, a user's message, and all else.

        question is None when the last item is anything else, has no text or several, when the answer
        tells of the question's own words (``moderation``, ``enable_response_messages``), and when a tool
        of a kind not known here is among the tools.

        Args:
            identity: what ``identity`` returned.
            history: which earlier items the context holds. ``"equal"``: all. n: the instructions and the
                last n other messages. ``"ignore"``: the instructions alone. What was said since the last
                answer is always held. With n and ``"ignore"`` question is None also when an item that is
                no message (a call, its output, reasoning) is among those held.
        """
        return split(identity, history)

    def bypass(self, body: Mapping[str, Any]) -> str | None:
        """A reason why this request must never touch the cache, or None.

        It is about state at the server (``conversation``, ``previous_response_id``, ``background``, item
        references, a prompt template without a version), or has a tool that acts on the world or looks at
        what changes from call to call (MCP, computer use, shells, patches, code interpreters).
        """
        return bypass(body)

    def verdict(self, body: Mapping[str, Any], response: Response) -> str | None:
        """A short reason, free of content, why this answer must not be stored; or None.

        A refusal is not stored, as in chat completions.
        """
        return verdict(body, response)

    def assemble(self, frames: Sequence[bytes]) -> bytes:
        """The document an unstreamed call would have returned: the response of the final event.

        Where a server leaves its ``output`` empty, the items of the events before it take its place.

        Raises:
            ValueError: the frames are no events of a response, or the final one is not among them.
        """
        return assemble(frames)

    def replay(self, body: Mapping[str, Any], response: Response) -> Iterable[bytes]:  # noqa: ARG002  (the same for all)
        """The frames of a stored answer: as recorded, or made from the document.

        Made ones bring each text in one piece, and carry no obfuscation.

        Raises:
            ValueError: the stored document is no finished response.
        """
        return replay(response)

    def replayable(self, body: Mapping[str, Any], response: Response) -> str | None:  # noqa: ARG002  (the same for all)
        """None: a stream of this protocol always carries all of the response, usage included."""
        return None

    def progress(self) -> Progress:
        """Complete when the response was completed, incomplete or failed; ``verdict`` tells them apart."""
        return ResponsesProgress()

    def event(self, frame: bytes) -> bytes:
        """``event:`` and the frame's type, then ``data:`` and the frame.

        An error document without a type, as ``failure`` makes it, becomes an event of type ``error``.
        """
        return event(frame)

    def addressed(self, body: Mapping[str, Any], payload: bytes) -> bytes:
        """With the ``metadata``, ``user``, ``safety_identifier`` and ``prompt_cache_key`` of this request."""
        return addressed(body, payload)

    def renewed(self, payload: bytes, *, token: str, now: int) -> bytes:
        """With a new id and new times.

        The id stays where the response says that the server keeps it (``"store": true``): by that id it
        is continued and retrieved. The ids of output items stay.
        """
        return renewed(payload, token=token, now=now)

    def failure(self, status: int, message: str, *, field: str | None = None) -> bytes:
        """An ``error`` object in OpenAI's shape."""
        return failure(status, message, field=field)

    def acts(self, response: Response) -> bool:
        """Whether a call is the caller's to answer; what cannot be read, or is of an unknown type, may be."""
        document = parsed(response.body, "the answer")
        output = None if isinstance(document, str) else document.get("output")
        return not isinstance(output, list) or any(map(acts, output))

    def text(self, document: Any) -> str:
        """The texts of all messages, joined; "" when there is none."""
        return "".join(text for item in _output(document) for text in message_texts(item))

    def delta(self, document: Any) -> str:
        """The new text of one parsed event; "" when it brings none."""
        if not isinstance(document, dict) or document.get("type") != "response.output_text.delta":
            return ""
        delta = document.get("delta")
        return delta if isinstance(delta, str) else ""

    def cost(self, response: Response) -> Cost:
        """Tokens the upstream reported; 0 where it reported none."""
        return cost(response, asked="input_tokens", answered="output_tokens")

    def answer(self, body: Mapping[str, Any], text: str) -> dict[str, Any]:
        """A document around plain text, with fresh ids and no usage, for upstreams that return a string."""
        model = body.get("model")
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
        message = {
            "id": f"msg_{uuid4().hex}",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [part],
        }
        return {
            "id": f"resp_{uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "completed",
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": model if isinstance(model, str) else "callable",
            "output": [message],
            "parallel_tool_calls": True,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": None,
        }


def _output(document: Any) -> list[Any]:
    output = document.get("output") if isinstance(document, dict) else None
    return output if isinstance(output, list) else []
