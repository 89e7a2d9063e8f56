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
    return int(max(0.0, min(BUCKETS - 1.0, (calibrated - _LOW) / _WIDTH)))


class Evidence:
    """Two sliding windows, and what they come to for each bucket. A label takes 10 bytes."""

    def __init__(self) -> None:
        # Rings, filled from 0; changed by ``see`` and ``learn`` only.
        self._seen = array("b")
        self._labels = array("b")
        self._errors = array("f")  # of the judge, for each label: missed, accepted
        self._next_seen = 0
        self._next = 0
        self.mass: Final = np.zeros(BUCKETS)
        """Questions seen in each bucket, whether served or not."""
        self.served: Final = np.zeros(BUCKETS)
        """Of those, how many were served."""
        self.labels: Final = np.zeros((4, BUCKETS))
        """Of each bucket: labels, how many of them say "wrong", and the sums of their judges' errors: the
        share of right answers called wrong, and that of wrong ones called right."""

    @property
    def nbytes(self) -> int:
        """Memory held."""
        rings = (self._seen, self._labels, self._errors)
        return sum(ring.__sizeof__() for ring in rings) + 6 * self.mass.nbytes

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
        place, self._next = self._next, (self._next + 1) % LABELS
        if place < len(self._labels):
            old = self._labels[place]
            self.labels[:, abs(old) - 1] -= (1, old < 0, *self._errors[2 * place : 2 * place + 2])
            self._labels[place] = bucket + 1 if same else -(bucket + 1)
            self._errors[2 * place] = missed
            self._errors[2 * place + 1] = accepted
        else:
            self._labels.append(bucket + 1 if same else -(bucket + 1))
            self._errors.extend((missed, accepted))
        # As the ring holds them, so that what is taken away later is what was added.
        self.labels[:, bucket] += (1, not same, *self._errors[2 * place : 2 * place + 2])
