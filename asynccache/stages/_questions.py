"""Vectors of questions, from an embedder that may be slow, broken or somebody else's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from asynccache._errors import EmbedderError, EmbedderUnavailable, TextRefused
from asynccache._events import SemanticTierChanged
from asynccache._lifespan import own_task_cancelled
from asynccache._models import Embedding
from asynccache._space import space_of, vector_of

if TYPE_CHECKING:
    from asynccache._protocols import Driver, Embedder

__all__ = ["PAUSE", "SLOW", "Questions"]

PAUSE: Final = 30.0
"""Seconds between tries of an embedder that has failed."""
SLOW: Final = 3
"""Vectors in a row that did not come in time, after which no more are asked for, for a while."""
RESPITE: Final = 5.0
"""Seconds given to an embedder that was too slow: long enough for its queue to empty."""
LOADING: Final = 5
"""Times the patience for the first vector, before which a model may have to be loaded."""

_UNAVAILABLE: Final = "the embedder is unavailable"


class Questions:
    """Asks an embedder, and leaves it alone for a while when it fails.

    Args:
        embedder: opened and closed by the owner.
        patience: seconds to wait for a vector.
    """

    def __init__(self, embedder: Embedder, *, patience: float) -> None:
        self.embedder: Final = embedder
        self._patience: Final = patience
        # Its words may be told: those of a user's embedder may quote the text.
        self._ours: Final = type(embedder).__module__.partition(".")[0] == "asynccache"
        self.reset()

    def reset(self) -> None:
        """Begin afresh, with an embedder that was opened anew."""
        self.space: bytes | None = None
        """The space of its vectors; None until it has made one."""
        self._dim: int | None = None
        self._closed_until: float | None = None  # monotonic seconds; None while it works
        self._late = 0  # vectors in a row that did not come in time

    async def embedded(self, question: str, driver: Driver) -> Embedding | str:
        """The question's vector, or a few words on why there is none.

        Raises:
            EmbedderError: in strict mode only.
        """
        if self._closed_until is not None and driver.clock.monotonic() < self._closed_until:
            return _UNAVAILABLE
        timer = asyncio.timeout(self._patience * (LOADING if self.space is None else 1))
        try:
            async with timer:
                made = await self.embedder.embed([question])
        except TextRefused as error:
            return error.reason if self._ours else "the embedder refused the text"
        except EmbedderError as error:
            return self._failed(driver, error if self._ours else _wrapped(error))
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # a border: panics of compiled code are no Exception
            if isinstance(error, asyncio.CancelledError) and own_task_cancelled():
                raise
            if isinstance(error, TimeoutError) and timer.expired():
                return self._too_late(driver)
            return self._failed(driver, _wrapped(error))
        try:
            embedding = self._checked(made)
        except EmbedderError as error:
            return self._failed(driver, error)
        self._late = 0
        if self._closed_until is not None:
            self._closed_until = None
            driver.emit(SemanticTierChanged(None))
        return embedding

    def _checked(self, made: object) -> Embedding:
        vector = vector_of(made, self._dim or self.embedder.dim or None)
        self._dim = len(vector) // 4
        if self.space is None:
            self.space = space_of(self.embedder)
        return Embedding(self.space, vector)

    def _too_late(self, driver: Driver) -> str:
        self._late += 1
        if self._late >= SLOW or self.space is None:
            self._late = 0
            late = EmbedderUnavailable(f"no vector came within {self._patience:g} seconds")
            self._close(driver, late, seconds=RESPITE)
        return "the embedder took too long"

    def _failed(self, driver: Driver, error: EmbedderError) -> str:
        if driver.strict:
            raise error
        self._close(driver, error, seconds=PAUSE)
        return _UNAVAILABLE

    def _close(self, driver: Driver, error: EmbedderError, *, seconds: float) -> None:
        if self._closed_until is None:
            driver.emit(SemanticTierChanged(error))
        self._closed_until = driver.clock.monotonic() + seconds


def _wrapped(error: BaseException) -> EmbedderUnavailable:
    made = EmbedderUnavailable(f"the embedder raised {type(error).__name__}")
    made.__cause__ = error
    return made
