"""How likely an answer is right at a similarity, learnt from few labels. Pure.

The model is logistic: P(right) at a similarity s has the log odds slope * (s - middle). The paper fits both
by maximum likelihood and lowers the probability by a confidence bound of the middle. Labels of one question
are few and mostly separable, and then the likelihood has no maximum. Here every boundary of a grid
counts with the likelihood it gives the labels, none being likelier beforehand, and the bound is the mean of
the less favourable half: on simulated questions it keeps what is promised where the plain mean does not.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["explored", "likelihoods", "probably_right"]

_SLOPES: Final = np.repeat(np.geomspace(2.0, 100.0, 9), 45)
"""From one where similarity tells little to one where right turns to wrong within 0.05."""
_MIDDLES: Final = np.tile(np.linspace(0.0, 1.1, 45), 9)
"""Beyond 1, an answer is more often wrong than right even for what looks equal."""
_HALF: Final = 0.5


def likelihoods(similarities: NDArray[np.float64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How likely each boundary of the grid is, given labels; they sum up to 1.

    Args:
        similarities: of the questions asked, shape (n,), 0 to 1, n at most a few hundred.
        right: whether the answer was right for each, shape (n,).
    """
    signs = np.where(right, -1.0, 1.0)
    odds = np.exp(_SLOPES[:, None] * ((similarities - _MIDDLES[:, None]) * signs))
    # Logarithms, since products of many small probabilities would vanish.
    logs = -np.log1p(odds).sum(axis=1)
    weights: NDArray[np.float64] = np.exp(logs - logs.max())
    weights /= weights.sum()
    return weights


def probably_right(weights: NDArray[np.float64], similarity: float) -> float:
    """A cautious probability, 0 to 1, that the answer is right at a similarity.

    The mean over the less favourable half of what ``likelihoods`` gave.
    """
    right = 1.0 / (1.0 + np.exp(_SLOPES * (_MIDDLES - similarity)))
    order = right.argsort()
    sorted_weights = weights[order]
    before = sorted_weights.cumsum() - sorted_weights
    counted = np.clip(_HALF - before, 0.0, sorted_weights)
    return float(counted @ right[order]) / _HALF


def explored(right: float, max_error: float) -> float:
    """How often to ask anew, so that wrong answers stay below a share of all requests; 0 to 1.

    Args:
        right: probability that the stored answer is right, 0 to 1.
        max_error: the share, 0 to 1.
    """
    wrong = 1.0 - right
    return 0.0 if wrong <= max_error else 1.0 - max_error / wrong
