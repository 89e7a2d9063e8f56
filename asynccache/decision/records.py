"""What is known of the questions around: how the last labels of each ended, and which share an answer.

Flat arrays instead of objects: a label costs some 50 bytes, and the garbage collector has nothing to
walk through.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Known", "Records"]

RING: Final = 8
"""Labels remembered of a question as the one whose answer was proposed; the oldest gives way."""
_ROW: Final = RING + 1  # the first place is for the label it got as the one that was asked
_MOST: Final = 2**18  # questions: some 13 MB; a store keeps fewer labels
# A record is a score in steps, above a likelihood in steps.
_STEPS: Final = 8  # to a unit of log odds: as fine as a score means anything
_FAR: Final = 15.0  # log odds beyond which a score says no more
_SCALE: Final = 255  # steps of a likelihood from 0 to 1
_EMPTY: Final = 2**16 - 1  # the score it would have is too far
_START: Final = 1024  # places of the first table
_LOW: Final = 2**32 - 1  # a group is named by half a name: of sixteen questions no two are taken for one


class Known(NamedTuple):
    """What the labels say of some questions, one place for each."""

    pull: NDArray[np.float64]
    """Sum over a question's labels of likelihood - sigma(score); zero for one without."""
    information: NDArray[np.float64]
    """Sum of sigma(score) * (1 - sigma(score))."""
    groups: NDArray[np.uint32]
    """Questions of one group share an answer; one of which nothing is known is a group of its own."""


class Records:
    """Of each question, the sums over its labels that local calibration needs, and its group.

    A question has the label it got when it was asked, and a ring of the last eight in which its answer was
    proposed to another. When a label says that the answer proposed was right, the question joins the group
    of the one whose answer it was. Groups never merge, so that one wrong label misplaces one question, and
    those that join it afterwards. Known by the first 8 bytes of its key, a hash.

    Args:
        most: questions remembered; from then on the older half is forgotten at once.
    """

    def __init__(self, *, most: int = _MOST) -> None:
        self._most: Final = most
        self._clear(_START)

    def _clear(self, places: int) -> None:
        # Row r is one question. All changed by ``learn`` and ``forget`` only.
        self._names = array("Q")
        self._rings = array("H")  # nine records a row
        self._turns = array("B")  # of the ring: where the next record goes
        self._pull = array("f")  # sum of likelihood - sigma(score)
        self._information = array("f")  # sum of sigma(score) * (1 - sigma(score))
        self._groups = array("I")
        self._table = array("I", bytes(4 * places))  # open addressing: 0, or a row + 1

    def __len__(self) -> int:
        return len(self._names)

    @property
    def nbytes(self) -> int:
        """Memory held."""
        sums = (self._pull, self._information, self._groups)
        parts = (self._names, self._rings, self._turns, *sums, self._table)
        return sum(part.__sizeof__() for part in parts)

    def learn(self, key: bytes, score: float, *, likely: float, asked: bool = False) -> None:
        """Take up a label of a question.

        Args:
            key: of the question, 8 bytes or more of a hash.
            score: log odds that were given to the pair.
            likely: how likely the answer was right, now that a judge has spoken, 0 to 1.
            asked: True for the question that was asked, False for the one whose answer was proposed.
        """
        row = self._row(key)
        if asked:
            place = 0
        else:
            place = 1 + self._turns[row]
            self._turns[row] = (self._turns[row] + 1) % RING
        steps = round((max(-_FAR, min(_FAR, score)) + _FAR) * _STEPS)
        self._rings[_ROW * row + place] = (steps << 8) + round(likely * _SCALE)
        self._sum(row)

    def join(self, asked: bytes, key: bytes) -> None:
        """A question turned out to have the answer of another: it is of that one's group from now on."""
        group, row = self._group(key), self._row(asked)  # which may put other arrays in place
        self._groups[row] = group

    def leave(self, asked: bytes, key: bytes) -> None:
        """It turned out not to have it: where both were of one group, each is of its own again.

        But for the one after which the group is named.
        """
        if self._group(asked) == self._group(key):
            for each in (asked, key):
                name = _name(each)
                row = self._find(name)[1]
                if row >= 0:
                    self._groups[row] = name & _LOW

    def known(self, keys: Sequence[bytes]) -> Known:
        """What is known of questions, in their order; each array of shape (n,)."""
        names = [_name(key) for key in keys]
        rows = [self._find(name)[1] for name in names]
        return Known(
            np.array([self._pull[row] if row >= 0 else 0.0 for row in rows], dtype=np.float64),
            np.array([self._information[row] if row >= 0 else 0.0 for row in rows], dtype=np.float64),
            np.array(
                [
                    self._groups[row] if row >= 0 else name & _LOW
                    for row, name in zip(rows, names, strict=True)
                ],
                dtype=np.uint32,
            ),
        )

    def _group(self, key: bytes) -> int:
        name = _name(key)
        row = self._find(name)[1]
        return self._groups[row] if row >= 0 else name & _LOW

    def _find(self, name: int) -> tuple[int, int]:
        """The place in the table and the row there, -1 when there is none."""
        table, names = self._table, self._names
        mask = len(table) - 1
        place = name & mask
        while held := table[place]:
            if names[held - 1] == name:
                return place, held - 1
            place = (place + 1) & mask
        return place, -1

    def _row(self, key: bytes) -> int:
        name = _name(key)
        place, row = self._find(name)
        if row >= 0:
            return row
        if len(self._names) >= self._most:
            self._keep(self._most // 2)
            place, _ = self._find(name)
        elif 3 * len(self._names) >= 2 * len(self._table):
            self._keep(len(self._names))
            place, _ = self._find(name)
        row = len(self._names)
        self._names.append(name)
        self._rings.extend([_EMPTY] * _ROW)
        self._turns.append(0)
        self._pull.append(0.0)
        self._information.append(0.0)
        self._groups.append(name & _LOW)
        self._table[place] = row + 1
        return row

    def _keep(self, count: int) -> None:
        """Keep the newest rows, in a table with room for twice as many at least."""
        first = len(self._names) - count
        self._names, self._turns = self._names[first:], self._turns[first:]
        self._rings = self._rings[_ROW * first :]
        self._pull, self._information = self._pull[first:], self._information[first:]
        self._groups = self._groups[first:]
        places = _START
        while places < 2 * count:
            places *= 2
        table = np.zeros(places, dtype=np.uint32)
        mask = np.uint64(places - 1)
        rows = np.arange(count, dtype=np.uint32)
        wanted = (np.frombuffer(self._names, dtype=np.uint64) & mask).astype(np.int64)
        # All at once: who finds its place taken looks one further, together with the others.
        while len(rows):
            free = table[wanted] == 0
            table[wanted[free]] = rows[free] + 1  # of several the last stays
            left = table[wanted] != rows + 1
            rows, wanted = rows[left], (wanted[left] + 1) & (places - 1)
        self._table = array("I", table.tobytes())

    def _sum(self, row: int) -> None:
        pull = information = 0.0
        for record in self._rings[_ROW * row : _ROW * (row + 1)]:
            if record == _EMPTY:
                continue
            before = 1.0 / (1.0 + math.exp(_FAR - (record >> 8) / _STEPS))
            pull += (record & _SCALE) / _SCALE - before
            information += before * (1.0 - before)
        self._pull[row], self._information[row] = pull, information


def _name(key: bytes) -> int:
    return int.from_bytes(key[:8], "little")
