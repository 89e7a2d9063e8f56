"""The text-completions protocol: OpenAI's older one, which vLLM and other servers speak for base models."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from asynccache.dialects._choices_progress import ChoicesProgress
from asynccache.dialects._choices_replay import replay, replayable
from asynccache.dialects._completions_check import check
from asynccache.dialects._completions_chunks import assemble, chunks
from asynccache.dialects._completions_identity import identity
from asynccache.dialects._completions_verdict import verdict
from asynccache.dialects._openai import DONE, event, failure, renewed
from asynccache.dialects._usage import cost
from asynccache.dialects._vllm import bypass

if TYPE_CHECKING:
    from asynccache._models import Cost, History, Response
    from asynccache._protocols import Progress

__all__ = ["Completions"]


class Completions:
    """``POST /v1/completions``. Stateless; every method keeps the promise of ``Dialect``."""

    name: str = "completions"
    path: str = "/completions"
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

        ``"x"`` and ``["x"]`` are one prompt. Its text is kept byte for byte: it is gone on with, so the
        white space it ends with counts.

        Args:
            body: plain JSON data that passed ``check``.
        """
        return identity(body)

    def split(self, identity: Mapping[str, Any], history: History = "equal") -> tuple[Any, str | None]:
        """(context, question): all of it, and None: a prompt is never compared by meaning.

        It is one text in which instructions, examples and the question stand together, and nobody can tell
        where one ends: what differs in wording might be any of them. And the answer goes on with the very
        words of the prompt, so that it fits no other wording.

        Args:
            identity: what ``identity`` returned.
            history: without effect; there are no messages.
        """
        del history
        return identity, None

    def bypass(self, body: Mapping[str, Any]) -> str | None:
        """A reason why this request must never touch the cache, or None."""
        return bypass(body)

    def verdict(self, body: Mapping[str, Any], response: Response) -> str | None:
        """A short reason, free of content, why this answer must not be stored; or None.

        Each of the k prompts must have its n choices, each ended by itself and with a text that is not
        blank.
        """
        return verdict(body, response)

    def assemble(self, frames: Sequence[bytes]) -> bytes:
        """The document an unstreamed call would have returned.

        An answer that broke off is assembled as far as it goes; ``verdict`` refuses it.

        Raises:
            ValueError: the frames are no text-completion chunks, or hold no choice.
        """
        return assemble(frames)

    def replay(self, body: Mapping[str, Any], response: Response) -> Iterable[bytes]:
        """The frames of a stored answer: as recorded, or made from the document.

        Usage that stands in a frame of its own is sent only if the request asks for it.

        Raises:
            ValueError: the stored document is no text completion.
        """
        return replay(body, response, kind="text_completion", chunks=chunks)

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
        return renewed(payload, prefix="cmpl-", token=token, now=now)

    def failure(self, status: int, message: str, *, field: str | None = None) -> bytes:
        """An ``error`` object in OpenAI's shape."""
        return failure(status, message, field=field)

    def acts(self, response: Response) -> bool:
        """Never: there are no tools."""
        del response
        return False

    def text(self, document: Any) -> str:
        """The first choice's text; "" when there is none."""
        return _text(document)

    def delta(self, document: Any) -> str:
        """The first choice's new text of one parsed frame; "" when there is none."""
        return _text(document)

    def cost(self, response: Response) -> Cost:
        """Tokens the upstream reported; 0 where it reported none."""
        return cost(response)

    def answer(self, body: Mapping[str, Any], text: str) -> dict[str, Any]:
        """A document around plain text, with a fresh id and no usage, for upstreams that return a string."""
        model = body.get("model")
        return {
            "id": f"cmpl-{uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model if isinstance(model, str) else "callable",
            "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}],
        }


def _text(document: Any) -> str:
    choices = document.get("choices") if isinstance(document, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("index", 0) == 0:
            text = choice.get("text")
            return text if isinstance(text, str) else ""
    return ""
