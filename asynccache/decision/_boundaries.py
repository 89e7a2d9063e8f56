"""How likely an answer is right at a similarity, learnt from few labels, and how sure that is. Pure.

The model of vCache (arXiv 2502.03771) is logistic: P(right) at a similarity s has the log odds
slope * (s - middle). Both are fitted by maximum likelihood, and the middle has a confidence bound.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Boundary", "explored", "fitted"]

_ROUNDS: Final = 60
"""Newton steps at most; a hundred labels need about ten."""
_STEP: Final = 4.0
"""Longest step, in log odds: a longer one may overshoot where the likelihood is flat."""
_ENOUGH: Final = 1e-5
_FLATTEST: Final = 1e-6
"""Least slope: a probability that falls with similarity says nothing about where the boundary is."""
_RIDGE: Final = 1e-9
"""Keeps the information invertible when all similarities are equal."""
_SEPARATED: Final = 40.0
"""Log odds across the gap between wrong and right labels, where the likelihood alone would take all."""
_NARROWEST: Final = 1e-3
_SEPARABLE_DOUBT: Final = 0.45
"""Spread of the middle between separable labels, times the root of their number."""
_DOUBT: Final = 1.4
"""Least spread of the middle of others, times their number. Without these two, few labels that fall on
two sides by luck pass for a sharp boundary, and more is wrong than promised; larger ones cost hits."""
_LARGEST: Final = 700.0
"""Of what ``exp`` takes."""

_BEYOND: Final = np.geomspace(1e-6, 0.5, 40)
"""Probabilities that the middle is higher than taken; the one that gives most is used."""
_QUANTILES: Final = np.array([NormalDist().inv_cdf(1.0 - each) for each in _BEYOND.tolist()])


class Boundary(NamedTuple):
    """Where wrong turns to right for one stored question, and how well that is known."""

    slope: float
    """Log odds for each unit of similarity, above 0."""
    middle: float
    """The similarity at which right and wrong are equally likely, 0 to 1."""
    spread: float
    """Standard deviation of the middle."""

    def surely_right(self, similarity: float) -> float:
        """A lower bound, 0 to below 1, for the probability that the answer is right.

        With a probability of 1 - e the middle is below its upper quantile, and the answer then right with
        at least the probability that holds there: the product of both, at the best e.
        """
        middles = np.minimum(self.middle + _QUANTILES * self.spread, 1.0)
        odds = np.exp(np.minimum(self.slope * (middles - similarity), _LARGEST))
        return float(((1.0 - _BEYOND) / (1.0 + odds)).max())


def fitted(similarities: NDArray[np.float64], right: NDArray[np.bool_]) -> Boundary:
    """The boundary that labels tell.

    Args:
        similarities: of the questions asked, shape (n,), 0 to 1.
        right: whether the answer was right for each, shape (n,); at least one was, and one was not.
    """
    count = len(right)
    low, high = float(similarities[~right].max()), float(similarities[right].min())
    if low < high:
        slope = _SEPARATED / max(high - low, _NARROWEST)
        return Boundary(slope, (low + high) / 2, _SEPARABLE_DOUBT / sqrt(count))
    slope, middle, spread = _likeliest(similarities, right)
    return Boundary(slope, middle, max(spread, _DOUBT / count))


def _likeliest(similarities: NDArray[np.float64], right: NDArray[np.bool_]) -> Boundary:
    """By Newton's method. The labels are not separable: a likeliest boundary exists."""
    mean = float(similarities.mean())
    x = similarities - mean
    intercept = slope = 0.0
    c00 = c01 = c11 = 0.0
    for _ in range(_ROUNDS):
        p = 1.0 / (1.0 + np.exp(-np.clip(intercept + slope * x, -30.0, 30.0)))
        weight = p * (1.0 - p)
        weighted = weight * x
        # The information matrix, two by two, and its inverse.
        i00, i01, i11 = float(weight.sum()) + _RIDGE, float(weighted.sum()), float(weighted @ x) + _RIDGE
        scale = i00 * i11 - i01 * i01
        c00, c01, c11 = i11 / scale, -i01 / scale, i00 / scale
        rest = right - p
        g0, g1 = float(rest.sum()), float(rest @ x)
        step0, step1 = c00 * g0 + c01 * g1, c01 * g0 + c11 * g1
        longest = max(abs(step0), abs(step1))
        part = min(1.0, _STEP / longest) if longest else 1.0
        intercept, slope = intercept + part * step0, slope + part * step1
        if longest < _ENOUGH:
            break
    slope = max(slope, _FLATTEST)
    # The delta method: how the middle moves with intercept and slope.
    d0, d1 = -1.0 / slope, intercept / slope**2
    variance = d0 * d0 * c00 + 2.0 * d0 * d1 * c01 + d1 * d1 * c11
    return Boundary(slope, min(max(mean - intercept / slope, 0.0), 1.0), sqrt(max(variance, 0.0)))


def explored(surely_right: float, max_error: float) -> float:
    """How often to ask anew, so that wrong answers stay below a share of all requests; 0 to 1.

    Args:
        surely_right: least probability that the stored answer is right, 0 to 1.
        max_error: the share, 0 to 1.
    """
    wrong = 1.0 - surely_right
    return 0.0 if wrong <= max_error else 1.0 - max_error / wrong
