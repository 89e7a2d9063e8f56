"""The scores that ship; of questions they were trained on, those of weights that never saw the class."""

from __future__ import annotations

from hashlib import md5
from pathlib import Path
from typing import Any, Final

import numpy as np
from _decision_stream import Stream
from numpy.typing import NDArray

from asynccache.decision import PairScore, Prepared, foreign, prepare
from asynccache.decision._features import features
from asynccache.decision._local import Around
from asynccache.decision.pair_score import Calibration, Weights, read, read_calibration, row_of

FOLDS: Final = 5  # as in tools/train_decision.py
LEARNT: Final = frozenset(("banking77", "snips"))
NEVER: Final = -8.0  # what abstaining is, as a score


class Scores:
    """Log-odds of pairs of a stream; each is computed once.

    Args:
        stream: whose questions.
        folds: weights by what they were trained without, from ``tools/train_decision.py --folds``. None:
            the weights that ship score everything, also what they were trained on.
        space: which embedder the weights believe the vectors to be of.
    """

    def __init__(self, stream: Stream, folds: Path | None, space: bytes) -> None:
        self._stream: Final = stream
        self.texts: Final = prepared(stream.prompts)
        self._foreign: Final = [foreign(text) for text in self.texts]
        self._ships: Final = PairScore.load(space)
        self.version: Final = self._ships.version
        self._known: Final[dict[tuple[int, int], float]] = {}
        self._without: Final[dict[tuple[int, int], tuple[Weights, Calibration]]] = {}
        self._fold: Final = [
            _fold(name) if source in LEARNT else -1
            for name, source in zip(stream.classes, stream.sources, strict=True)
        ]
        if folds is not None:
            with np.load(folds, allow_pickle=False) as held:
                arrays: dict[str, NDArray[Any]] = {name: held[name] for name in held.files}
            for one in range(FOLDS):
                for two in range(one, FOLDS):
                    name = f"without_{one}_{two}"
                    self._without[one, two] = read(arrays, name), read_calibration(arrays, name)

    def __call__(self, asked: int, stored: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.array([self._one(asked, int(at)) for at in stored])

    def _one(self, asked: int, stored: int) -> float:
        found = self._known.get((asked, stored))
        if found is None:
            found = self._known[asked, stored] = self._fresh(asked, stored)
        return found

    def _fresh(self, asked: int, stored: int) -> float:
        if self._foreign[asked] or self._foreign[stored]:
            return NEVER
        a, b = self.texts[asked], self.texts[stored]
        u, v = self._stream.vectors[asked], self._stream.vectors[stored]
        apart = self._apart(asked, stored)
        if apart is None:
            return float(self._ships(a, u, [(b, v, float(u @ v))])[0])
        return float(apart[0].of_rows(np.array([features(a, b, float(u @ v))], dtype=np.float32))[0])

    def calibrated(self, asked: int, stored: int, score: float, cosine: float, known: Around) -> float:
        apart = self._apart(asked, stored)
        if apart is None:
            return self._ships.calibrated(score, cosine, known)
        return apart[1].of_row(row_of(score, cosine, known))

    def _apart(self, asked: int, stored: int) -> tuple[Weights, Calibration] | None:
        """What knows neither class; None: what ships knows neither."""
        folds = sorted({fold for fold in (self._fold[asked], self._fold[stored]) if fold >= 0})
        if folds and self._without and self._ships.bound:
            return self._without[folds[0], folds[-1]]
        return None

    def part(self, kept: list[int], stream: Stream) -> PartScores:
        """The same scores for some of the questions."""
        return PartScores(self, kept, stream)


class PartScores:
    """Scores of a part of a stream, by its own places."""

    def __init__(self, whole: Scores, kept: list[int], stream: Stream) -> None:
        self._whole: Final = whole
        self._kept: Final = np.array(kept)
        self.stream: Final = stream

    def __call__(self, asked: int, stored: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._whole(int(self._kept[asked]), self._kept[stored])

    def calibrated(self, asked: int, stored: int, score: float, cosine: float, known: Around) -> float:
        there = int(self._kept[asked]), int(self._kept[stored])
        return self._whole.calibrated(*there, score, cosine, known)


def prepared(texts: list[str]) -> list[Prepared]:
    return [prepare(text) for text in texts]


def _fold(name: str) -> int:
    return int(md5(name.encode(), usedforsecurity=False).hexdigest(), 16) % FOLDS
