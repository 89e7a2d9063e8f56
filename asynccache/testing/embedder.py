"""An embedder without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FakeEmbedder"]


class FakeEmbedder:
    """Embeds a text as the sum of its words' vectors; each word's vector is made from its hash.

    Texts that share words are near, texts that share none are nearly orthogonal, and the same words
    in another order are the same vector: a ready-made wrong hit for a test of validators. The
    vectors are the same on every machine. Case counts; white space separates words.

    Args:
        dim: length of the vectors, 1 or more. Chance cosines shrink with ``1 / sqrt(dim)``.
        name: what tells this embedder from others.
    """

    def __init__(self, *, dim: int = 64, name: str = "fake") -> None:
        self.dim: Final = dim
        self.name: Final = name
        self.calls: list[tuple[str, ...]] = []
        """The texts of every call, in order."""

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 array, shape (n, dim), rows of norm 1; a text without words is one row as well."""
        import numpy as np

        self.calls.append(tuple(texts))
        rows = np.empty((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            vector = sum((self._word(word) for word in text.split() or [""]), np.zeros(self.dim))
            row[:] = vector / np.linalg.norm(vector)
        return rows

    def _word(self, word: str) -> NDArray[np.float64]:
        import numpy as np

        digest = hashlib.shake_256(word.encode("utf-8", "surrogatepass")).digest(4 * self.dim)
        uniform = np.frombuffer(digest, dtype="<u4").astype(np.float64)
        return uniform / 2**31 - 1.0  # into [-1, 1)
