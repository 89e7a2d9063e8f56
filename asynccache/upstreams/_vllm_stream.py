"""A stream whose end is told to those who keep count."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from asynccache._errors import UpstreamError
from asynccache.upstreams._vllm_usage import Usage, usage_of

if TYPE_CHECKING:
    from asynccache._stream import Stream

__all__ = ["WatchedFrames"]

_USAGE: Final = (b'"prompt_tokens"', b'"input_tokens"')
"""Only a frame with usage holds one of these: inside a string the quotes would be escaped."""


class WatchedFrames:
    """The frames of a stream, as they are.

    Args:
        stream: the source; closed by ``aclose``.
        on_end: called when it has ended by itself, with the error if it broke off; not when its reader
            left early.
        on_close: called once, when it is closed, with what its last usage said.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        on_end: Callable[[UpstreamError | None], None],
        on_close: Callable[[Usage], None],
    ) -> None:
        self._stream: Final = stream
        self._on_end: Final = on_end
        self._on_close: Final = on_close
        self._usage: bytes | None = None  # the last frame that holds one

    def __aiter__(self) -> WatchedFrames:
        return self

    async def __anext__(self) -> bytes:
        try:
            frame = await anext(self._stream)
        except StopAsyncIteration:
            self._on_end(None)
            raise
        except UpstreamError as error:
            self._on_end(error)
            raise
        if any(name in frame for name in _USAGE):
            self._usage = frame
        return frame

    async def aclose(self) -> None:
        """Close the source. To be called once, as a ``Stream`` does."""
        try:
            await self._stream.aclose()
        finally:
            self._on_close(usage_of(self._usage))
