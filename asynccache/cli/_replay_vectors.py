"""Vectors that are made once, however many pipelines ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from asynccache._errors import TextRefused
from asynccache._space import space_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from asynccache._protocols import Embedder

__all__ = ["VectorTable"]

_BATCH: Final = 128
"""Texts given to the embedder at once: enough to sort by length, few enough for the bar to move."""


class VectorTable:
    """An embedder that asks another one about each text that comes alone, as questions do, once.

    Args:
        embedder: opened and closed by whoever made it.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder: Final = embedder
        # By text, shape (1, dim); in place of a vector why there is none. One event loop uses it.
        self._made: Final[dict[str, NDArray[np.float32] | str]] = {}

    @property
    def name(self) -> str:
        """The other embedder's."""
        return self._embedder.name

    @property
    def dim(self) -> int:
        """The other embedder's."""
        return self._embedder.dim

    @property
    def fingerprint(self) -> bytes:
        """The other embedder's, or what stands for it: 16 bytes."""
        return space_of(self._embedder)

    async def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """float32 array, shape (n, dim), rows of norm 1 in the order of the texts.

        Raises:
            TextRefused: one of the texts has no vector.
            EmbedderError: as the other embedder raised it.
        """
        if len(texts) != 1:  # a judge's, who asks about each pair of answers once
            return await self._embedder.embed(texts)
        await self.fill(texts)
        made = self._made[texts[0]]
        if isinstance(made, str):
            raise TextRefused(made)
        return made

    async def fill(self, texts: Iterable[str], made: Callable[[int], object] = lambda _: None) -> None:
        """Make the vectors that are not there yet.

        Args:
            texts: may hold one twice.
            made: told after each batch how many more there are.

        Raises:
            EmbedderError: as the other embedder raised it; texts it refuses are taken note of.
        """
        missing = [text for text in dict.fromkeys(texts) if text not in self._made]
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            try:
                rows = await self._embedder.embed(batch)
            except TextRefused as error:
                if len(batch) == 1:
                    self._made[batch[0]] = error.reason
                else:
                    for text in batch:
                        await self.fill([text])
            else:
                # Copies: a row would keep its whole batch in memory.
                self._made.update((text, rows[at : at + 1].copy()) for at, text in enumerate(batch))
            made(len(batch))
