"""What is known of the questions around: for each, how the last labels it took part in ended.

Flat arrays instead of objects: a label costs some 50 bytes, and the garbage collector has nothing to
walk through.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Records"]

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


class Records:
    """Of each question, the sums over its labels that local calibration needs.

    A question has the label it got when it was asked and missed, and a ring of the last eight in which
    its answer was proposed to another. Known by the first 8 bytes of its key, a hash.

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
        self._table = array("I", bytes(4 * places))  # open addressing: 0, or a row + 1

    def __len__(self) -> int:
        return len(self._names)

    @property
    def nbytes(self) -> int:
        """Memory held."""
        parts = (self._names, self._rings, self._turns, self._pull, self._information, self._table)
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

    def sums(self, keys: Sequence[bytes]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pull and information of questions, in their order; zero for those nothing is known of.

        Pull is the sum of likelihood - sigma(score) over a question's labels, information that of
        sigma(score) * (1 - sigma(score)). Each of shape (n,).
        """
        rows = [self._find(int.from_bytes(key[:8], "little"))[1] for key in keys]
        pull = [self._pull[row] if row >= 0 else 0.0 for row in rows]
        information = [self._information[row] if row >= 0 else 0.0 for row in rows]
        return np.array(pull, dtype=np.float64), np.array(information, dtype=np.float64)

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
        name = int.from_bytes(key[:8], "little")
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
        self._table[place] = row + 1
        return row

    def _keep(self, count: int) -> None:
        """Keep the newest rows, in a table with room for twice as many at least."""
        first = len(self._names) - count
        self._names, self._turns = self._names[first:], self._turns[first:]
        self._rings = self._rings[_ROW * first :]
        self._pull, self._information = self._pull[first:], self._information[first:]
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
