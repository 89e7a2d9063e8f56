"""Products of vectors, computed by the thread that asks.

Above a certain size OpenBLAS spreads a product over a thread for each processor, and they wait for each
other spinning. Where the processors have other things to do, that takes many times as long as the product
itself: two queries against 1,024 vectors 15 ms rather than 0.07, measured. So it gets pieces below that size.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["products"]

_ALONE: Final = 2**18  # multiplications that OpenBLAS leaves to one thread
_ALONE_ONE: Final = 1024 * 384  # the same, of a matrix and a single vector
_PANEL: Final = 64  # vectors in a piece; the pieces of a call cost one hand-over of Python's lock


def products(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inner product of each query, shape (m, dim), with each row, shape (n, dim): shape (m, n)."""
    (count, dim), size = queries.shape, len(rows)
    if count == 1 and size * dim <= _ALONE_ONE:
        return queries @ rows.T
    made = np.empty((count, size), dtype=np.float32)
    whole = size - size % _PANEL
    panels = rows[:whole].reshape(whole // _PANEL, _PANEL, dim)
    together = max(1, _ALONE // (_PANEL * dim))
    for first in range(0, count, together):
        some = queries[first : first + together].T
        made[first : first + together, :whole] = (panels @ some).reshape(whole, some.shape[1]).T
        made[first : first + together, whole:] = (rows[whole:] @ some).T
    return made
