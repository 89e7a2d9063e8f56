"""The embeddings protocol: OpenAI's, and what vLLM and other servers make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asynccache._errors import InvalidRequest, UpstreamInvalidAnswer
from asynccache.dialects._embeddings_check import NOT_STREAMED, check
from asynccache.dialects._embeddings_divide import distribute, divide, join, merge
from asynccache.dialects._embeddings_identity import identity
from asynccache.dialects._embeddings_verdict import verdict
from asynccache.dialects._openai import event, failure, renewed
from asynccache.dialects._usage import cost

if TYPE_CHECKING:
    from asynccache._models import Cost, History, Response
    from asynccache._protocols import Progress

__all__ = ["Embeddings"]


class Embeddings:
    """``POST /v1/embeddings``. Stateless; every method keeps the promise of ``Dialect`` and ``Divisible``.

    Embeddings are not streamed.
    """

    name: str = "embeddings"
    path: str = "/embeddings"
    closing: bytes = b""
    repeats: bool = False

    def check(self, body: Mapping[str, Any]) -> None:
        """Refuse a body that no upstream of this protocol could take, and one that wants a stream.

        Fields it does not know pass: an upstream may know them.

        Raises:
            InvalidRequest: naming the field.
        """
        check(body)

    def identity(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Every field of a checked body except the neutral ones, equal spellings made equal.

        ``"x"`` and ``["x"]`` are one input; its text is kept byte for byte.

        Args:
            body: plain JSON data that passed ``check``.
        """
        return identity(body)

    def split(self, identity: Mapping[str, Any], history: History = "equal") -> tuple[Any, str | None]:
        """(context, question): all of it, and None: another text has another embedding, however near."""
        del history
        return identity, None

    def bypass(self, body: Mapping[str, Any]) -> str | None:
        """Always None: no field of this protocol keeps a request out of the cache."""
        del body
        return None

    def verdict(self, body: Mapping[str, Any], response: Response) -> str | None:
        """A short reason, free of content, why this answer must not be stored; or None.

        Each input must have its embedding: a list of numbers, or base64 of finite float32s; all of one
        length, that of ``dimensions`` if it was asked for.
        """
        return verdict(body, response)

    def assemble(self, frames: Sequence[bytes]) -> bytes:
        """Raise ValueError: embeddings are not streamed."""
        del frames
        raise ValueError(NOT_STREAMED)

    def replay(self, body: Mapping[str, Any], response: Response) -> Iterable[bytes]:
        """Refuse.

        Raises:
            InvalidRequest: naming ``stream``.
        """
        del body, response
        raise InvalidRequest("stream", NOT_STREAMED)

    def replayable(self, body: Mapping[str, Any], response: Response) -> str | None:
        """Always None: no answer lacks what a stream would carry."""
        del body, response
        return None

    def progress(self) -> Progress:
        """One that takes no event."""
        return _NoProgress()

    def event(self, frame: bytes) -> bytes:
        """``data:`` and the frame; of use for errors only."""
        return event(frame)

    def addressed(self, body: Mapping[str, Any], payload: bytes) -> bytes:
        """The very payload: nothing in it tells of the request."""
        del body
        return payload

    def renewed(self, payload: bytes, *, token: str, now: int) -> bytes:
        """With a new ``id`` and ``created``, where it has them: vLLM's answers do."""
        return renewed(payload, prefix="embd-", token=token, now=now)

    def failure(self, status: int, message: str, *, field: str | None = None) -> bytes:
        """An ``error`` object in OpenAI's shape."""
        return failure(status, message, field=field)

    def acts(self, response: Response) -> bool:
        """Never."""
        del response
        return False

    def text(self, document: Any) -> str:
        """Always "": the answer is numbers."""
        del document
        return ""

    def delta(self, document: Any) -> str:
        """Always ""."""
        del document
        return ""

    def cost(self, response: Response) -> Cost:
        """Tokens of the inputs, as the upstream reported them; 0 where it reported none."""
        return cost(response)

    def answer(self, body: Mapping[str, Any], text: str) -> dict[str, Any]:
        """Refuse: a text is no embedding.

        Raises:
            UpstreamInvalidAnswer: saying what is expected.
        """
        del body, text
        raise UpstreamInvalidAnswer(
            "the callable returned text where embeddings were asked for; expected a mapping with 'data'"
        )

    def divide(self, body: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
        """A body for each input; None when there are not several."""
        return divide(body)

    def join(self, body: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """One body with the inputs of all parts."""
        return join(body, parts)

    def distribute(self, parts: Sequence[Mapping[str, Any]], response: Response) -> list[Response]:
        """An answer for each part.

        What the upstream counted for all is shared out by the length of the inputs: exact for lists of
        tokens, an estimate for texts, and in sum always what was reported.

        Raises:
            ValueError: there is not one embedding for each part, or they differ in length.
        """
        return distribute(parts, response)

    def merge(self, parts: Sequence[Response]) -> Response:
        """The answers of all parts as one, numbered in order; usage is what the whole takes without a cache.

        Raises:
            ValueError: a part does not hold one embedding, or they differ in model or length.
        """
        return merge(parts)


class _NoProgress:
    def note(self, document: Mapping[str, Any]) -> None:
        del document
        raise ValueError("an event, though embeddings are not streamed")

    def missing(self) -> str | None:
        return "without an answer: embeddings are not streamed"
