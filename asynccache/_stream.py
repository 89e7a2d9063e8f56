"""An answer that is still arriving."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

__all__ = ["Completed", "Stream"]

Completed = Callable[[tuple[bytes, ...]], Awaitable[None]]
"""Called with all frames of a stream that ended well."""


class Stream:
    """An arriving answer: a one-shot async iterator over frames (the payloads of server-sent events).

    Callbacks given to ``on_complete`` run after the last frame and before the iteration ends, and only
    when the source ended without an error. A reader that stops early must call ``aclose()``.

    Args:
        frames: the source; it raises an ``UpstreamError`` when the answer breaks off.
        aclose: releases what the source holds (a connection); called once, also after an error.
        record_limit: bytes of frames kept for the callbacks; a longer answer is delivered whole, but
            its callbacks do not run.
    """

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        *,
        aclose: Callable[[], Awaitable[None]] | None = None,
        record_limit: int = 16 * 2**20,
    ) -> None:
        self._frames: Final = frames
        self._aclose = aclose
        self._record_limit: Final = record_limit
        self._callbacks: list[Completed] = []
        self._recorded: list[bytes] | None = []
        self._size = 0
        self._ended = False

    def on_complete(self, callback: Completed) -> None:
        """Run ``callback`` with every frame once the answer is complete."""
        self._callbacks.append(callback)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        try:
            frame = await anext(self._frames)
        except StopAsyncIteration:
            self._ended = True
            await self._complete()
            raise
        except BaseException:
            self._ended = True
            await self.aclose()
            raise
        self._record(frame)
        return frame

    def _record(self, frame: bytes) -> None:
        if self._recorded is None or not self._callbacks:
            return
        self._size += len(frame)
        if self._size > self._record_limit:
            self._recorded = None
        else:
            self._recorded.append(frame)

    async def _complete(self) -> None:
        try:
            if self._recorded is not None:
                frames = tuple(self._recorded)
                for callback in self._callbacks:
                    await callback(frames)
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Stop early and release the source. Safe to call twice."""
        self._ended = True
        release, self._aclose = self._aclose, None
        if release is not None:
            await release()
