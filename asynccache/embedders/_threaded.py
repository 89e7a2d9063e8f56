"""An embedder whose model runs in a thread of its own.

One thread: two embed no more texts in a second, and make the event loop wait for its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final

from asynccache._clock import SystemClock
from asynccache._errors import EmbedderUnavailable
from asynccache._lifespan import SharedLifespan
from asynccache.embedders._engine import Engine, Facts
from asynccache.embedders._memo import Memo
from asynccache.embedders._options import checked_number, checked_seconds
from asynccache.embedders._rows import again, assembled
from asynccache.embedders._session import Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from asynccache._protocols import Clock

__all__ = ["ThreadedEmbedder"]


class ThreadedEmbedder:
    """Embeds with one thread. Use inside ``lifespan()``.

    Args:
        engine: where the model comes from.
        name: the model's name.
        max_batch: texts computed together.
        queue: texts waiting or being computed at once; callers beyond it wait for room.
        memo: texts whose vectors are remembered; 0 remembers none.
        download_timeout: seconds for fetching a missing model; None does not fetch it.
        clock: default None takes the machine's.

    Raises:
        ConfigurationError: an option cannot work.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        name: str,
        max_batch: int,
        queue: int,
        memo: int,
        download_timeout: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name: Final = name
        self._engine: Final = engine
        self._max_batch: Final = checked_number("max_batch", max_batch, least=1)
        self._room: Final = checked_number("queue", queue, least=1)
        self._memo: Final = checked_number("memo", memo, least=0)
        self._download_timeout: Final = (
            None if download_timeout is None else checked_seconds("download_timeout", download_timeout)
        )
        self._clock: Final = SystemClock() if clock is None else clock
        self._session: Session | None = None  # None while closed
        self._facts: Facts | None = None  # of the model loaded last
        self._lifespan: Final = SharedLifespan(self._opened)

    @property
    def dim(self) -> int:
        """Length of the vectors; 0 before the model has been loaded."""
        return 0 if self._facts is None else self._facts.dim

    @property
    def fingerprint(self) -> bytes:
        """16 bytes for name, weights, dim, pooling and window; empty before the model has been loaded."""
        return b"" if self._facts is None else self._facts.fingerprint

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Keep the thread; loading begins at once and is not waited for. May be entered several times."""
        return self._lifespan()

    async def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """float32 array, shape (n, dim), rows of norm 1 in the order of the texts; not to be written to.

        A text embedded lately costs nothing, and a text on its way is waited for, whoever asked for it
        first. While the model is loaded callers wait; while it is downloaded they are refused.

        Raises:
            TextRefused: a text is empty, longer than the model's window, or has no usable vector.
            EmbedderUnavailable: not open, no model, or a failure of it.
        """
        session = self._current()
        session.load_if_due()
        return assembled(await session.queue.rows(texts), self.dim)

    async def ready(self) -> None:
        """Wait until the model is loaded, through a download as well.

        Raises:
            EmbedderUnavailable: it cannot be loaded now.
        """
        session = self._current()
        session.load_if_due()
        await session.decided.wait()
        if session.queue.refusal is not None:
            raise again(session.queue.refusal)

    def _current(self) -> Session:
        session = self._session
        if session is None:
            raise EmbedderUnavailable("this embedder is not open; use it inside its lifespan()")
        if session.loop is not asyncio.get_running_loop():
            raise EmbedderUnavailable(
                "this embedder is open in another event loop; give each loop an embedder of its own"
            )
        return session

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        session = self._session = Session(
            self._engine,
            learned=self._learned,
            max_batch=self._max_batch,
            room=self._room,
            memo=Memo(self._memo),
            download_timeout=self._download_timeout,
            clock=self._clock,
        )
        session.load()
        try:
            yield
        finally:
            self._session = None
            await session.close()

    def _learned(self, facts: Facts) -> None:
        self._facts = facts

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"
