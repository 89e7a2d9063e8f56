"""What was lately seen of calibrated scores, and how the labelled ones among them ended."""

from __future__ import annotations

from array import array
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["BUCKETS", "EDGES", "Evidence", "bucket_of"]

_LOW: Final = 0.0
_WIDTH: Final = 0.2
BUCKETS: Final = 28
"""The first holds all scores below 0.2, the last all from 5.4 on."""
EDGES: Final[NDArray[np.float64]] = _LOW + _WIDTH * np.arange(BUCKETS, dtype=np.float64)
"""Lower edge of each bucket, log odds; shape (BUCKETS,). That of the first stands for all below."""

LABELS: Final = 2000
"""Labels in the window: beyond it the world may have changed."""
SEEN: Final = 4000
"""Decided questions in the window."""


def bucket_of(calibrated: float) -> int:
    """In which bucket a calibrated score lies."""
    return max(0, min(BUCKETS - 1, int((calibrated - _LOW) / _WIDTH)))


class Evidence:
    """Two sliding windows, and what they come to for each bucket. A label takes 9 bytes."""

    def __init__(self) -> None:
        # Rings, filled from 0; changed by ``see`` and ``learn`` only.
        self._seen = array("b")
        self._buckets = array("b")
        self._wrong = array("f")
        self._weight = array("f")
        self._next_seen = 0
        self._next = 0
        self.mass: Final = np.zeros(BUCKETS)
        """Questions seen in each bucket, whether served or not."""
        self.served: Final = np.zeros(BUCKETS)
        """Of those, how many were served."""
        self.count: Final = np.zeros(BUCKETS)
        """Labels in each bucket, each counted as what it tells: less than one where the judge errs."""
        self.wrong: Final = np.zeros(BUCKETS)
        """Of those, the wrong ones, corrected for the judge's errors: may be negative by chance."""

    @property
    def nbytes(self) -> int:
        """Memory held."""
        rings = (self._seen, self._buckets, self._wrong, self._weight)
        return sum(ring.__sizeof__() for ring in rings) + 4 * self.mass.nbytes

    def see(self, bucket: int, *, served: bool) -> None:
        """A question was decided."""
        place, self._next_seen = self._next_seen, (self._next_seen + 1) % SEEN
        if place < len(self._seen):
            old = self._seen[place]
            self.mass[abs(old) - 1] -= 1
            self.served[abs(old) - 1] -= old < 0
            self._seen[place] = -(bucket + 1) if served else bucket + 1
        else:
            self._seen.append(-(bucket + 1) if served else bucket + 1)
        self.mass[bucket] += 1
        self.served[bucket] += served

    def learn(self, bucket: int, *, same: bool, missed: float, accepted: float) -> None:
        """It became known how one ended.

        Args:
            bucket: of its calibrated score.
            same: whether the stored answer was right, says the judge.
            missed: share of right answers that this judge calls wrong.
            accepted: share of wrong answers that it calls right.
        """
        # The judge says "wrong" of missed * right + (1 - accepted) * wrong; solved for wrong.
        sharp = 1.0 - missed - accepted
        if sharp <= 0.0:  # a coin
            return
        weight = sharp * sharp
        wrong = weight * ((0.0 if same else 1.0) - missed) / sharp
        place, self._next = self._next, (self._next + 1) % LABELS
        if place < len(self._buckets):
            old = self._buckets[place]
            self.count[old] -= self._weight[place]
            self.wrong[old] -= self._wrong[place]
            self._buckets[place], self._wrong[place], self._weight[place] = bucket, wrong, weight
        else:
            self._buckets.append(bucket)
            self._wrong.append(wrong)
            self._weight.append(weight)
        # As the ring holds them, so that what is taken away later is what was added.
        self.count[bucket] += self._weight[place]
        self.wrong[bucket] += self._wrong[place]
