"""What vectors say of two answers and their questions. Pure; takes whatever array type it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Nearness", "nearness"]

_SOFT: Final = 0.3
"""Added to the distance of the answers before dividing by it: where it is small, it says little."""


class Nearness(NamedTuple):
    """Of vectors of norm 1."""

    near: float
    """Cosine of the answers."""
    own: float
    """How much nearer each answer is to its own question than the other answer is, for their distance: the
    lesser of both, about -1 to 1. Answers that say the same are about as near to either question."""
    own_most: float
    """The greater of both."""


def nearness(
    asked: NDArray[np.float32],
    stored_for: NDArray[np.float32],
    fresh: NDArray[np.float32],
    stored: NDArray[np.float32],
) -> Nearness:
    """Compare two answers, each given as vectors of its parts, shape (n, dim); questions: (dim,)."""
    one, other = _middle(fresh), _middle(stored)
    apart = one - other
    distance = float(apart @ apart) ** 0.5 + _SOFT
    owns = float(asked @ apart) / distance, -float(stored_for @ apart) / distance
    return Nearness(float(one @ other), min(owns), max(owns))


def _middle(parts: NDArray[np.float32]) -> NDArray[np.float32]:
    mean = parts.mean(axis=0)
    middle: NDArray[np.float32] = mean / max(float(mean @ mean) ** 0.5, 1e-6)
    return middle
