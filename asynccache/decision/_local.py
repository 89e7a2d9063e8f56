"""What the labels of the neighbourhood say about a score."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["local_shift"]

REACH: Final = 0.15
"""How fast a neighbour's word loses weight with its distance (1 - cosine)."""
PRIOR: Final = 0.375
"""Information that says "no shift", set against the neighbours': one and a half labels at even odds."""
MOST: Final = 3.0


def local_shift(
    cosines: NDArray[np.floating], pull: NDArray[np.floating], information: NDArray[np.floating]
) -> float:
    """What to add to the scores of a question's candidates: one damped Newton step towards the labels nearby.

    It makes a topic full of look-alikes strict, and one whose questions are put in many ways generous.

    Args:
        cosines: shape (n,), of the nearest entries.
        pull: shape (n,), for each the sum over its records of label (0 or 1) less predicted probability.
        information: shape (n,), the sum of probability times its complement.

    Returns:
        -3 to 3; 0 without neighbours or records.
    """
    weight = np.exp((cosines - 1.0) / REACH)
    shift = float(weight @ pull) / (PRIOR + float(weight @ information))
    return min(max(shift, -MOST), MOST)
