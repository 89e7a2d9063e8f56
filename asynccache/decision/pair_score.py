"""How likely two questions have the same answer, before anything is known of their neighbourhood."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from math import isfinite
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asynccache.decision._features import NAMES, features
from asynccache.decision._local import Around
from asynccache.decision._trees import Trees
from asynccache.decision.prepared import Prepared

__all__ = ["Calibration", "CandidatePair", "PairScore", "Weights"]

CandidatePair: TypeAlias = "tuple[Prepared, NDArray[np.float32] | None, float]"
"""A candidate's text, its vector (None: not known), and its cosine to the question."""
MOST: Final = 8.0
"""Scores beyond are cut: nothing here is that sure."""
BEYOND: Final = 0.3
"""What is left of the trees' certainty beyond ``Weights.most``."""


class Weights(NamedTuple):
    """One way to score."""

    trees: Trees
    base: float
    """What the trees start from."""
    most: float
    """From where the trees' word counts less: two texts alone hardly make sure, labels nearby do."""
    line: tuple[float, float]
    """Factor and summand that make a cosine a log-odds."""
    share: float
    """How much the trees count, 0 to 1; the line has the rest."""

    def score(self, question: Prepared, candidates: Sequence[CandidatePair]) -> NDArray[np.float64]:
        """As PairScore."""
        rows = np.array([features(question, text, near) for text, _, near in candidates], dtype=np.float32)
        return self.of_rows(rows)

    def of_rows(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """As ``score``, for rows of features; shape (n,)."""
        trees = self.base + self.trees(rows)
        trees -= (1 - BEYOND) * np.maximum(trees - self.most, 0.0)
        line = self.line[0] * rows[:, 0].astype(np.float64) + self.line[1]  # the first feature is the cosine
        found: NDArray[np.float64] = np.clip(self.share * trees + (1 - self.share) * line, -MOST, MOST)
        return found


class Calibration(NamedTuple):
    """From a score and what is known around the question to the odds that decide."""

    trees: Trees
    base: float
    """What the trees start from."""

    def of_row(self, row: Sequence[float]) -> float:
        """Log odds for one row of features, those of ``row_of``."""
        return self.base + float(self.trees(np.array([row], dtype=np.float32))[0])


def row_of(score: float, cosine: float, known: Around) -> list[float]:
    """What a calibration reads: its features, in order."""
    return [score, cosine, known.shift, known.share, known.margin, known.members]


class PairScore:
    """Score the candidates of a question: above 0, the same answer is more likely than not.

    Immutable and safe to share among threads.

    Args:
        bound: weights that read the cosines of one embedder, None where the embedder is another.
        generic: weights that hold for any embedder: they read the texts and no cosine.
        calibration: goes with ``bound``. None: the score and the shift of the labels around are added up.
        version: 16 bytes, a hash of the weights.
    """

    def __init__(
        self,
        *,
        bound: Weights | None,
        generic: Weights,
        calibration: Calibration | None = None,
        version: bytes,
    ) -> None:
        self._bound: Final = bound
        self._calibration: Final = calibration
        self._generic: Final = generic
        self.version: Final = version
        """16 bytes; scores of another version are not comparable."""

    @property
    def bound(self) -> bool:
        """Whether the part that was fitted to this very embedder's cosines is in use."""
        return self._bound is not None

    @classmethod
    def load(cls, space: bytes | None = None) -> PairScore:
        """The bundled weights.

        Args:
            space: the embedder's fingerprint, 16 bytes. The weights fitted to the bundled model's cosines
                are used with that model alone. Any other, or None, gets weights that read only the texts:
                what a cosine of 0.8 means differs from model to model, so there it only chooses the
                candidates and weighs the labels nearby.
        """
        held, digest = _bundled()
        fits = space is not None and space == bytes(held["space"])
        return cls(
            bound=read(held, "bound") if fits else None,
            generic=read(held, "generic"),
            calibration=read_calibration(held, "bound") if fits else None,
            version=sha256(digest + bytes([fits])).digest()[:16],
        )

    def __call__(
        self, question: Prepared, vector: NDArray[np.float32], candidates: Sequence[CandidatePair]
    ) -> NDArray[np.float64]:
        """Log-odds that each candidate's answer is the question's, shape (n,), -8 to 8.

        Args:
            question: its text.
            vector: float32, shape (dim,), of norm 1; the present weights look at cosines alone.
            candidates: a candidate without a vector gets the generic score.
        """
        del vector
        if not candidates:
            return np.zeros(0)
        if self._bound is None:
            return self._generic.score(question, candidates)
        found = self._bound.score(question, candidates)
        lone = [at for at, (_, other, _) in enumerate(candidates) if other is None]
        if lone:  # where the vector is gone nobody knows which model made the cosine
            found[lone] = self._generic.score(question, [candidates[at] for at in lone])
        return found

    def calibrated(self, score: float, cosine: float, known: Around) -> float:
        """Log odds that a candidate's answer is right, with what is known of the questions around.

        Args:
            score: of the candidate.
            cosine: of the candidate.
            known: around the question, with regard to this candidate.
        """
        row = row_of(score, cosine, known)
        if not all(map(isfinite, row)):  # a tree would take it for something large
            return -MOST
        return score + known.shift if self._calibration is None else self._calibration.of_row(row)


def read_calibration(held: dict[str, NDArray[Any]], part: str) -> Calibration:
    """The calibration of one part of a weights file."""
    trees = Trees(*(held[f"{part}_known_{name}"] for name in Trees._fields))
    return Calibration(trees, float(held[f"{part}_known_base"]))


def read(held: dict[str, NDArray[Any]], part: str) -> Weights:
    """One part of a weights file.

    Raises:
        ValueError: it is for other features than these.
    """
    names = bytes(held["features"]).decode().split()
    if tuple(names) != NAMES:
        raise ValueError("the weights are for other features; train them anew with tools/train_decision.py")
    base, most, slope, start, share = held[f"{part}_scale"].tolist()
    trees = Trees(*(held[f"{part}_{name}"] for name in Trees._fields))
    return Weights(trees, base, most, (slope, start), share)


@cache
def _bundled() -> tuple[dict[str, NDArray[Any]], bytes]:
    folder = files("asynccache.decision") / "weights"
    raw = (folder / "pairs.npz").read_bytes()
    with np.load(BytesIO(raw), allow_pickle=False) as held:
        arrays = {name: held[name] for name in held.files}
    words = (folder / "words.npz").read_bytes()
    return arrays, sha256(raw + sha256(words).digest()).digest()
