"""What a streaming callable yields, as frames."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from asynccache._errors import InvalidRequest, UpstreamInvalidAnswer
from asynccache._keys import to_json
from asynccache.upstreams._progress import CheckedProgress
from asynccache.upstreams._text import TextFrames

if TYPE_CHECKING:
    from asynccache._models import Request

__all__ = ["CallableFrames", "encoded"]


def encoded(given: Any, what: str) -> bytes:
    """A document as JSON: bytes are taken as they are, mappings and pydantic models are written.

    Raises:
        UpstreamInvalidAnswer: it is neither, or JSON cannot carry it; ``what`` begins the sentence.
    """
    if isinstance(given, bytes):
        return given
    if not isinstance(given, Mapping) and not callable(getattr(given, "model_dump", None)):
        expected = "a mapping, a pydantic model, str or bytes"
        raise UpstreamInvalidAnswer(f"{what} {type(given).__name__}; expected {expected}")
    try:
        return to_json(given)
    except InvalidRequest as error:
        raise UpstreamInvalidAnswer(f"{what} what JSON cannot carry: {error}") from error


class CallableFrames:
    """The frames of a callable's stream, each checked before it is handed on.

    Args:
        request: the request being answered.
        given: what to iterate over. Its exceptions pass unchanged; it is closed by ``aclose``.

    Raises:
        UpstreamInvalidAnswer: from the iteration, for an item that cannot be part of the answer.
        UpstreamStreamError: from the iteration, when the answer is not complete.
    """

    def __init__(self, request: Request, given: AsyncIterable[Any]) -> None:
        self._request: Final = request
        self._given: Final = given
        self._source: AsyncIterator[Any] = aiter(given)
        self._progress: Final = CheckedProgress(request.dialect)
        self._text: TextFrames | None = None  # made for the first str; then every item is one
        self._begun = False
        self._ended = False

    def __aiter__(self) -> CallableFrames:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        try:
            item = await anext(self._source)
        except StopAsyncIteration:
            self._ended = True
            if self._text is not None:
                return self._text.finish()
            self._progress.check_complete()
            raise
        return self._frame(item)

    def _frame(self, item: Any) -> bytes:
        is_text = isinstance(item, str)
        if not self._begun:
            self._begun = True
            if is_text:
                self._text = TextFrames(self._request.dialect, self._request.body)
        if is_text is not (self._text is not None):
            raise UpstreamInvalidAnswer("the callable mixed text and documents in one stream")
        if self._text is not None:
            return self._text.delta(item)
        frame = encoded(item, "the callable yielded")
        self._progress.note(frame)
        return frame

    async def aclose(self) -> None:
        """Close what the callable gave: a generator, or an SDK's stream (which calls it ``close``)."""
        if not getattr(self._source, "ag_running", False):
            await _close(self._source)
        if self._given is not self._source:
            await _close(self._given)


async def _close(given: object) -> None:
    close = getattr(given, "aclose", None) or getattr(given, "close", None)
    closing = close() if callable(close) else None
    if inspect.isawaitable(closing):
        await closing
