"""Many small decision trees at once, in a handful of numpy calls.

Every comparison of every tree is made, and each that fails strikes out the leaves it leads away from; what is
left of a tree's leaves begins with the right one (after QuickScorer, Lucchese et al., SIGIR 2015).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAVES", "Trees"]

LEAVES: Final = 16
"""Most leaves of a tree: one bit each."""
_ALL: Final = np.uint16(0xFFFF)
_PLACE: Final = np.zeros(1 << LEAVES, np.uint8)
"""The lowest bit that is set, for each pattern; 64 kB, quicker than any arithmetic."""
for _bit in reversed(range(LEAVES)):
    _PLACE[1 << _bit :: 1 << (_bit + 1)] = _bit


class Trees(NamedTuple):
    """Comparisons in the order of their trees. Arrays are not to be written to."""

    column: NDArray[np.uint8]
    """shape (nodes,): which feature is looked at."""
    limit: NDArray[np.float32]
    """shape (nodes,): the left side is taken where the feature is at most this."""
    strikes: NDArray[np.uint16]
    """shape (nodes,): the leaves that remain possible when it is more."""
    starts: NDArray[np.int64]
    """shape (trees,): the first comparison of each tree."""
    values: NDArray[np.float32]
    """shape (trees, LEAVES): what a leaf adds."""

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """The sum over all trees for each row, shape (n,)."""
        if not len(self.starts):
            return np.zeros(len(rows))
        left = rows.take(self.column, axis=1) <= self.limit
        masks = np.where(left, _ALL, self.strikes)
        alive = np.bitwise_and.reduceat(masks, self.starts, axis=1)
        found: NDArray[np.float64] = self.values[np.arange(len(self.starts)), _PLACE[alive]].sum(
            axis=1, dtype=np.float64
        )
        return found
