"""How high a calibrated score must be so that no more than a share of the hits is wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from asynccache._judging import Estimate
from asynccache.decision._bounds import interval, upper
from asynccache.decision._evidence import BUCKETS, EDGES, Evidence, bucket_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CLOSED", "Prior", "Promise"]

CLOSED: Final = math.inf
"""The limit at which nothing is served."""

_MIDDLES: Final = EDGES + (EDGES[1] - EDGES[0]) / 2
_LOWEST: Final = 2
"""Bucket of the lowest limit there is, 0.4: below, no more than a guess."""
_EVERY: Final = 100
"""Labels or decided questions after which the limit is computed anew: it takes a tenth of a millisecond."""
_THIN: Final = 300.0
"""Labels that a family borrows from all others at most."""
_FAMILIES: Final = 256
"""Families told apart; further ones keep the promise that all keep together."""
_SHIFT_SD: Final = 0.5
"""How far, in log odds, another population may lie from the one the prior was made on (one standard
deviation)."""
_NEWTON: Final = 8
"""Steps; it has converged after four."""
_LEAST_SHARE: Final = 0.25
"""Of what the prior expects, below which lucky labels do not push a bucket."""


class Prior(NamedTuple):
    """What is expected before anything is known, measured offline on other people's questions.

    ``P(right | calibrated) = sigma(slope * calibrated + intercept)``.
    """

    slope: float
    intercept: float
    weight: float
    """How many labelled hits the measurement is worth here."""


class Promise:
    """Keeps track of families of partitions, and computes their limits.

    The rate of wrong hits above a limit is estimated bucket by bucket: what the prior expects there,
    shifted by what all labels say together (they lie mostly below the limit, where every miss brings one),
    then corrected by the labels of the bucket itself, and weighted with the questions seen. A limit is the
    lowest whose 95 % upper bound keeps within the share allowed. It is marginal, and supposes that the
    questions to come are like those of the window (2,000 labels, 4,000 questions).

    Args:
        prior: what to expect at first.
    """

    def __init__(self, prior: Prior) -> None:
        self._prior: Final = prior
        self._all: Final = Evidence()
        self._families: Final[dict[bytes, Evidence]] = {}
        self._limits: Final[dict[tuple[bytes, float], float]] = {}
        self._since = 0  # labels and questions since the limits were computed

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._all.nbytes + sum(each.nbytes for each in self._families.values())

    def see(self, family: bytes, calibrated: float, *, served: bool) -> None:
        """A question was decided; its best candidate had that score."""
        bucket = bucket_of(calibrated)
        for each in self._of(family):
            each.see(bucket, served=served)
        self._grow()

    def learn(
        self, family: bytes, calibrated: float, *, same: bool, missed: float = 0.0, accepted: float = 0.0
    ) -> None:
        """It became known whether the answer proposed was right; see ``Evidence.learn``."""
        bucket = bucket_of(calibrated)
        for each in self._of(family):
            each.learn(bucket, same=same, missed=missed, accepted=accepted)
        self._grow()

    def limit(self, family: bytes, max_error: float) -> float:
        """The least calibrated score to serve, log odds; ``CLOSED`` when no limit keeps the promise."""
        known = (family if family in self._families else b"", max_error)
        limit = self._limits.get(known)
        if limit is None:
            limit = self._limits[known] = self._computed(known[0], max_error)
        return limit

    def estimate(self) -> Estimate | None:
        """How many of the hits in the window were wrong, of all families together; None without hits."""
        served = self._all.served
        if not served.any():
            return None
        mean, variance, slack = self._moments(b"")
        shares = served / served.sum()
        rate = float(shares @ mean)
        # Of those very hits, which are few, rather than of all that could have been.
        counted = rate * (1.0 - rate) / served.sum()
        spread = float(shares**2 @ variance) + float(shares @ slack) ** 2 + counted
        return Estimate(rate, *interval(rate, spread))

    def _of(self, family: bytes) -> tuple[Evidence, ...]:
        own = self._families.get(family)
        if own is None:
            if len(self._families) >= _FAMILIES:
                return (self._all,)
            own = self._families[family] = Evidence()
        return self._all, own

    def _grow(self) -> None:
        self._since += 1
        if self._since >= _EVERY:
            self._since = 0
            self._limits.clear()

    def _computed(self, family: bytes, max_error: float) -> float:
        mean, variance, slack = self._moments(family)
        mass = self._pooled(family)[2]
        # From the highest bucket down: what all above, together, come to.
        weight = np.cumsum(mass[::-1])[::-1]
        rates = np.cumsum((mass * mean)[::-1])[::-1] / weight
        spread = np.cumsum((mass**2 * variance)[::-1])[::-1] / weight**2
        slacks = np.cumsum((mass * slack)[::-1])[::-1] / weight
        for bucket in range(_LOWEST, BUCKETS):
            bound = upper(float(rates[bucket]), float(spread[bucket] + slacks[bucket] ** 2))
            if bound <= max_error:
                return float(EDGES[bucket])
        return CLOSED

    def _pooled(self, family: bytes) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """By bucket: labels, wrong ones, and questions seen: the family's, eked out with those of others."""
        all_, own = self._all, self._families.get(family)
        count, wrong, mass = all_.count, all_.wrong, all_.mass
        if own is not None:
            others = max(float((count - own.count).sum()), 1e-9)
            share = min(1.0, _THIN / others)
            count = own.count + share * (count - own.count)
            wrong = own.wrong + share * (wrong - own.wrong)
            mass = own.mass + share * (mass - own.mass)
        # A little of what is usual, so that no bucket is empty: fewer questions have higher scores.
        return np.maximum(count, 0.0), wrong, np.maximum(mass, 0.0) + 10.0 * np.exp(-_MIDDLES)

    def _moments(self, family: bytes) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Of each bucket: the share wrong that is believed, its variance, and how far a shift moves it."""
        count, wrong, mass = self._pooled(family)
        odds = -(self._prior.slope * _MIDDLES + self._prior.intercept)
        shift, deviation = _shifted(odds, count, wrong)
        expected = _sigma(odds + shift)
        worth = self._prior.weight * mass / mass[_LOWEST:].sum()
        wrongs = np.maximum(worth * expected + wrong, _LEAST_SHARE * worth * expected)
        mean = np.minimum(wrongs / (worth + count), 1.0)
        variance = mean * (1.0 - mean) / (worth + count + 1.0)
        slack = deviation * expected * (1.0 - expected) * worth / (worth + count)
        return mean, variance, slack


def _sigma(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-odds))


def _shifted(
    odds: NDArray[np.float64], count: NDArray[np.float64], wrong: NDArray[np.float64]
) -> tuple[float, float]:
    """By how much all labels together move the log odds of being wrong, and its standard deviation.

    The most likely shift, by Newton's method, where a normal with ``_SHIFT_SD`` is expected.
    """
    # Those of the first bucket lie far below every limit and would say more of that than of what counts.
    odds, count, wrong = odds[1:], count[1:], wrong[1:]
    precision = 1.0 / _SHIFT_SD**2
    shift, curvature = 0.0, precision
    for _ in range(_NEWTON):
        expected = _sigma(odds + shift)
        slope = float((wrong - count * expected).sum()) - precision * shift
        curvature = float((count * expected * (1.0 - expected)).sum()) + precision
        shift += max(-1.0, min(1.0, slope / curvature))
    return shift, 1.0 / math.sqrt(curvature)
