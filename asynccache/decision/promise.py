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
KNEE: Final = 2.2
_LOWEST: Final = 2
"""Bucket of the lowest limit there is, 0.4: below, no more than a guess."""
_EVERY: Final = 100
"""Labels or decided questions after which the limit is computed anew: it takes a tenth of a millisecond."""
_THIN: Final = 300.0
"""Labels that a family borrows from all others at most."""
_LENT: Final = 50.0
"""Labels that a family lends to others at most: none must speak for all."""
_FAMILIES: Final = 256
"""Families told apart; further ones keep one promise together."""
_SHIFT_SD: Final = 0.5
"""How far, in log odds, another population may lie from the one the prior was made on (one standard
deviation)."""
_DRIFT: Final = 3.0
"""Times the variance that the window itself explains: in seeded runs whose topics change half-way
(``benchmarks/bench_promise.py``) the interval held the truth too seldom without it."""
_HORIZON: Final = 6000
"""Decided questions over whose hits a promise is kept: of few hits, luck alone makes too many wrong."""
_SLOPE_SD: Final = 0.35
"""How far its slope may differ, likewise."""
_PIVOT: Final = 1.2
"""Score at which distance and slope have little to do with each other: where most labels are."""
_STEPS: Final = 8
"""Of the fit; it has converged after four."""
_LEAST_SHARE: Final = 0.25
"""Of what the prior expects, below which lucky labels do not push a bucket."""


class Prior(NamedTuple):
    """What is expected before anything is known, measured offline on other people's questions.

    ``P(right | calibrated) = sigma(slope * calibrated + intercept + bend * max(calibrated - KNEE, 0))``.
    """

    slope: float
    intercept: float
    weight: float
    """How many labelled hits the measurement is worth here."""
    bend: float = 0.0
    """Scores above the knee, which few pairs reach unless labels nearby confirm them, mean more."""

    def odds(self, calibrated: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log odds of being right."""
        return self.slope * calibrated + self.intercept + self.bend * np.maximum(calibrated - KNEE, 0.0)


class Promise:
    """Keeps track of families of partitions, and computes their limits.

    The rate of wrong hits above a limit is estimated bucket by bucket: what the prior expects there,
    shifted by what all labels say together (they lie mostly below the limit, where every miss brings one),
    then corrected by the labels of the bucket itself, and weighted with the questions seen. A limit is the
    lowest whose upper bound (97.5 %) keeps within the share allowed. It is marginal, and supposes that the
    questions to come are like those of the window (2,000 labels, 4,000 questions).

    Args:
        prior: what to expect at first.
    """

    def __init__(self, prior: Prior) -> None:
        self._prior: Final = prior
        self._rest: Final = Evidence()  # of families beyond those told apart
        self._served: Final = Evidence()  # of all: what was seen of them, and whether it was served
        self._families: Final[dict[bytes, Evidence]] = {}
        self._limits: Final[dict[tuple[bytes, float], float]] = {}
        self._since = 0  # labels and questions since the limits were computed

    @property
    def nbytes(self) -> int:
        """Memory held."""
        own = sum(each.nbytes for each in self._families.values())
        return self._rest.nbytes + self._served.nbytes + own

    def see(self, family: bytes, calibrated: float, *, served: bool) -> None:
        """A question was decided; its best candidate had that score."""
        bucket = bucket_of(calibrated)
        self._of(family).see(bucket, served=served)
        self._served.see(bucket, served=served)
        self._grow()

    def learn(
        self, family: bytes, calibrated: float, *, same: bool, missed: float = 0.0, accepted: float = 0.0
    ) -> None:
        """It became known whether the answer proposed was right; see ``Evidence.learn``."""
        self._of(family).learn(bucket_of(calibrated), same=same, missed=missed, accepted=accepted)
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
        served = self._served.served
        if not served.any():
            return None
        # Where there is one family alone, its own labels; else some of each.
        family = next(iter(self._families)) if len(self._families) == 1 else b""
        mean, variance, slack = self._believed(family)
        shares = served / served.sum()
        rate = float(shares @ mean)
        # Of those very hits, which are few, rather than of all that could have been.
        counted = rate * (1.0 - rate) / served.sum()
        spread = float(shares**2 @ variance) + float(((slack @ shares) ** 2).sum()) + counted
        low, high = interval(rate, _DRIFT * spread)
        # Hits come whole: between none and one wrong there is nothing.
        count = float(served.sum())
        return Estimate(rate, math.floor(low * count) / count, min(1.0, math.ceil(high * count) / count))

    def _of(self, family: bytes) -> Evidence:
        own = self._families.get(family)
        if own is None:
            if len(self._families) >= _FAMILIES:
                return self._rest
            own = self._families[family] = Evidence()
        return own

    def _grow(self) -> None:
        self._since += 1
        if self._since >= _EVERY:
            self._since = 0
            self._limits.clear()

    def _computed(self, family: bytes, max_error: float) -> float:
        mean, variance, slack = self._believed(family)
        mass = self._pooled(family)[1]
        # From each bucket up, what all of them together come to.
        weight = _upwards(mass)
        rates = _upwards(mass * mean) / weight
        spread = _upwards(mass**2 * variance) / weight**2 + ((_upwards(mass * slack) / weight) ** 2).sum(
            axis=0
        )
        # What is promised is the share among the hits there will be, and of few a lucky or unlucky share
        # is wrong.
        chance = rates * (1.0 - rates) / np.maximum(weight / mass.sum() * _HORIZON, 1.0)
        for bucket in range(_LOWEST, BUCKETS):
            bound = upper(float(rates[bucket]), float(spread[bucket] + chance[bucket]))
            if bound <= max_error:
                return float(EDGES[bucket])
        return CLOSED

    def _pooled(self, family: bytes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """By bucket, labels (as ``Evidence.labels``) and questions seen: the family's, and some of others."""
        own = self._families.get(family)
        labels, mass = np.zeros((4, BUCKETS)), np.zeros(BUCKETS)
        lacking = 1.0
        if own is not None:
            labels, mass = own.labels.copy(), own.mass.copy()
            lacking = max(0.0, 1.0 - float(labels[0].sum()) / _THIN)
        if lacking:
            # The less it has of its own, the more it borrows, of each other family no more than a few.
            others = [each for each in (*self._families.values(), self._rest) if each is not own]
            lent = [min(1.0, _LENT / max(float(each.labels[0].sum()), 1.0)) for each in others]
            total = sum(float(each.labels[0].sum()) * part for each, part in zip(others, lent, strict=True))
            share = lacking * min(1.0, _THIN / max(total, 1.0))
            for each, part in zip(others, lent, strict=True):
                labels += share * part * each.labels
                mass += share * part * each.mass
        # A little of what is usual, so that no bucket is empty: fewer questions have higher scores.
        return np.maximum(labels, 0.0), np.maximum(mass, 0.0) + 10.0 * np.exp(-_MIDDLES)

    def _believed(
        self, family: bytes
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Of each bucket: the share wrong, its variance, and how far the fitted line may move it.

        The last is of shape (2, BUCKETS): for each direction in which the line may be off.
        """
        labels, mass = self._pooled(family)
        said = Said.of(labels)
        odds, directions = _fitted(-self._prior.odds(_MIDDLES), said)
        expected = _sigma(odds)
        information = said.information(expected)  # in labels of a judge who never errs
        worth = self._prior.weight * mass / mass[_LOWEST:].sum()
        wrongs = np.maximum(worth * expected + information * said.wrong, _LEAST_SHARE * worth * expected)
        mean = np.minimum(wrongs / (worth + information), 1.0)
        variance = mean * (1.0 - mean) / (worth + information + 1.0)
        pull = expected * (1.0 - expected) * worth / (worth + information)
        return mean, variance, directions * pull


class Said(NamedTuple):
    """What judges say of each bucket, each array of shape (BUCKETS,)."""

    labels: NDArray[np.float64]
    """How many."""
    wrongs: NDArray[np.float64]
    """Of them, those that say "wrong"."""
    missed: NDArray[np.float64]
    sharp: NDArray[np.float64]
    """They say "wrong" of ``missed + sharp * share`` of the answers, of which a share is wrong."""

    @classmethod
    def of(cls, labels: NDArray[np.float64]) -> Said:
        """From sums as ``Evidence.labels``."""
        some = np.maximum(labels[0], 1e-9)
        missed, accepted = labels[2] / some, labels[3] / some
        return cls(labels[0], labels[1], missed, np.maximum(1.0 - missed - accepted, 1e-3))

    @property
    def wrong(self) -> NDArray[np.float64]:
        """The share wrong that best explains what they say; by chance below 0 or above 1."""
        return (self.wrongs / np.maximum(self.labels, 1e-9) - self.missed) / self.sharp

    def heard(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """How many they would call wrong, of which a share is."""
        return np.clip(self.missed + self.sharp * share, 1e-6, 1.0 - 1e-6)

    def information(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the labels tell about a share, counted in labels of a judge who never errs."""
        heard = self.heard(share)
        return self.labels * share * (1.0 - share) * self.sharp**2 / (heard * (1.0 - heard))


def _upwards(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each bucket, the sum of it and all above."""
    return np.cumsum(values[..., ::-1], axis=-1)[..., ::-1]


def _sigma(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-odds))
    return found


def _fitted(odds: NDArray[np.float64], said: Said) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The log odds of being wrong, moved and turned by what all labels say together.

    The most likely line, by Fisher's scoring, where its distance and slope are normal about those given.

    Returns:
        The log odds, and the directions (2, BUCKETS) in which one standard deviation moves them.
    """
    # That of all lower scores says more of what is far from any limit than of what counts.
    counts = np.arange(BUCKETS) > 0
    design = np.stack([np.ones(BUCKETS), _PIVOT - _MIDDLES])
    precision = np.diag([1.0 / _SHIFT_SD**2, 1.0 / _SLOPE_SD**2])
    moved, curvature = np.zeros(2), precision
    for _ in range(_STEPS):
        share = _sigma(odds + moved @ design)
        heard = said.heard(share)
        rise = said.sharp * share * (1.0 - share)
        weight = counts * rise / (heard * (1.0 - heard))
        gradient = design @ (weight * (said.wrongs - said.labels * heard)) - precision @ moved
        curvature = (design * (weight * rise * said.labels)) @ design.T + precision
        step = np.linalg.solve(curvature, gradient)
        moved = moved + np.clip(step, -1.0, 1.0)
    root = np.linalg.cholesky(np.linalg.inv(curvature))
    return odds + moved @ design, root.T @ design
