"""Calls of a user's function: each has its time, and one that does not end is left behind.

A function may swallow its cancellation, or wait for a thread that nobody can stop. Nothing here waits for
that: every call has a task of its own, and whoever made it goes on without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from asynccache._errors import EmbedderError, EmbedderUnavailable, TextRefused

__all__ = ["Asking", "EmbeddingFunction"]

EmbeddingFunction: TypeAlias = "Callable[[list[str]], Awaitable[Any]]"
"""An ``async def`` that takes texts and gives a vector for each, in order: an array or lists of numbers."""

_CLOSING_SECONDS: Final = 1.0
"""How long the end waits for calls that were cancelled. Those that go on end by themselves, unheard."""


class Asking:
    """Calls a function.

    Args:
        function: takes texts; may raise anything, and never end.
        seconds: for one call.
        most: calls left behind that may still be running; with more, the function is called no more.
    """

    def __init__(self, function: EmbeddingFunction, *, seconds: float, most: int) -> None:
        self._function: Final = function
        self._seconds: Final = seconds
        self._most: Final = most
        # Its words may be told: those of anybody else may quote the text.
        self._ours: Final = str(getattr(function, "__module__", "")).partition(".")[0] == "asynccache"
        self._left: set[asyncio.Task[Any]] = set()  # cancelled, and not ended yet

    async def answer(self, texts: list[str]) -> Any:
        """What the function gives for these texts. Raises EmbedderError, and nothing else of its own."""
        if len(self._left) >= self._most:
            raise EmbedderUnavailable(f"{len(self._left)} calls of the embedder do not end")
        task = asyncio.get_running_loop().create_task(self._asked(texts))
        task.add_done_callback(_seen)
        try:
            await asyncio.wait([task], timeout=self._seconds)
        finally:
            if not task.done():
                self._leave(task)
        if not task.done():
            raise EmbedderUnavailable(f"the embedder took more than {self._seconds:g} s")
        # Nothing is awaited from here on, so that a CancelledError is the function's own.
        try:
            return task.result()
        except BaseException as error:  # panics of compiled code are no Exception
            if isinstance(error, EmbedderError) and self._ours:
                raise
            raise _explained(error) from error

    async def close(self) -> None:
        """Wait for what was left behind, but not for ever."""
        if self._left:
            await asyncio.wait(self._left, timeout=_CLOSING_SECONDS)

    async def _asked(self, texts: list[str]) -> Any:
        return await self._function(texts)

    def _leave(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        self._left.add(task)
        task.add_done_callback(self._left.discard)


def _seen(task: asyncio.Task[Any]) -> None:
    """Keep asyncio from printing an error that nobody waited for: its words may quote the text."""
    if not task.cancelled():
        task.exception()


def _explained(error: BaseException) -> EmbedderError:
    if isinstance(error, TextRefused):
        return TextRefused("the embedder refused the text")
    return EmbedderUnavailable(f"the embedder failed ({type(error).__name__})")
