"""How sure a share is, from how often it was seen."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["interval", "upper"]

Z: Final = 1.959963984540054
"""Of the standard normal: 97.5 % lie below."""

_ROUNDS: Final = 60  # halvings of an interval of length 1: beyond the precision of a float
_TERMS: Final = 300  # of the continued fraction; it needs some tens
_TINY: Final = 1e-300
_CLOSE: Final = 1e-12


def upper(mean: float, variance: float, *, z: float = Z) -> float:
    """The value below which a small share lies with a probability, given what is expected of it.

    The share is taken for gamma-distributed, which for rare things is what Beta and Poisson come to;
    its quantile is Wilson and Hilferty's (1931), good to a few per cent.

    Args:
        mean: 0 to 1.
        variance: of what is believed about it.
        z: quantile of the standard normal for that probability; default 97.5 %.
    """
    if mean <= 0.0:
        return 0.0
    shape = mean * mean / max(variance, _TINY)
    root = 1.0 - 1.0 / (9.0 * shape) + z / (3.0 * math.sqrt(shape))
    return min(1.0, mean * max(root, 0.0) ** 3) if shape > 0.1 else 1.0  # noqa: PLR2004  (below, nothing is known)


def interval(mean: float, variance: float, *, outside: float = 0.05) -> tuple[float, float]:
    """The interval in which a share lies that is Beta-distributed with these moments.

    Args:
        mean: 0 to 1.
        variance: of what is believed about it.
        outside: probability, for both ends together, that the share lies outside.
    """
    if not 0.0 < mean < 1.0:
        return (mean, mean) if variance <= 0.0 else (0.0, 1.0)
    known = mean * (1.0 - mean) / max(variance, _TINY) - 1.0
    if known <= 0.0:
        return 0.0, 1.0
    a, b = mean * known, (1.0 - mean) * known
    return _beta_quantile(outside / 2, a, b), _beta_quantile(1 - outside / 2, a, b)


def _beta_quantile(probability: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if _beta_below(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta_below(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function."""
    if not 0.0 < x < 1.0:
        return float(x >= 1.0)
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges quickly on the other side
        return 1.0 - _beta_below(1.0 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    # Lentz's method for the continued fraction (DLMF 8.17.22).
    value, c, d = _TINY, _TINY, 0.0
    for term in range(_TERMS):
        half, odd = divmod(term, 2)
        if term == 0:
            coefficient = 1.0
        elif odd:
            coefficient = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            coefficient = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        d = 1.0 + coefficient * d
        d = 1.0 / (d or _TINY)
        c = 1.0 + coefficient / c
        value *= c * d
        if term and abs(c * d - 1.0) < _CLOSE:
            break
    return math.exp(log_front) * value / a
