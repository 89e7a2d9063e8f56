"""How likely two questions have the same answer, before anything is known of their neighbourhood."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asynccache.decision._features import NAMES, features
from asynccache.decision._trees import Trees
from asynccache.decision.prepared import Prepared

__all__ = ["CandidatePair", "PairScore", "Weights"]

CandidatePair: TypeAlias = "tuple[Prepared, NDArray[np.float32] | None, float]"
"""A candidate's text, its vector (None: not known), and its cosine to the question."""
MOST: Final = 8.0
"""Scores beyond are cut: nothing here is that sure."""


class Weights(NamedTuple):
    """One way to score: with a head, for the embedder it was trained on, or without."""

    trees: Trees
    base: float
    """What the trees start from."""
    scale: tuple[float, float]
    """Factor and summand that make the trees' sum a log-odds."""
    cosine: tuple[float, float]
    """Factor and summand that make a cosine a log-odds."""
    share: float
    """How much the trees count, 0 to 1; the cosine has the rest."""
    head: NDArray[np.float32] | None
    """shape (2 * dim + 1,): what each of |u - v| and u * v adds, and where it starts; None: no head."""

    def score(
        self, question: Prepared, vector: NDArray[np.float32] | None, candidates: Sequence[CandidatePair]
    ) -> NDArray[np.float64]:
        """As PairScore; with a head, every vector must be there."""
        cosines = np.array([cosine for _, _, cosine in candidates])
        rows = np.array(
            [features(question, text, cosine) for text, _, cosine in candidates], dtype=np.float32
        )
        if self.head is not None and vector is not None:
            others = np.stack([other for _, other, _ in candidates if other is not None])
            rows = np.concatenate([rows, self.headed(vector, others)[:, None]], axis=1)
        trees = (self.base + self.trees(rows)) * self.scale[0] + self.scale[1]
        line = self.cosine[0] * cosines + self.cosine[1]
        return np.clip(self.share * trees + (1 - self.share) * line, -MOST, MOST)

    def headed(self, vector: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
        """The head's own log-odds, shape (n,)."""
        head = self.head
        assert head is not None  # noqa: S101 - asked only of weights that have one
        dim = len(vector)
        found: NDArray[np.float32] = (
            np.abs(others - vector) @ head[:dim] + (others * vector) @ head[dim : 2 * dim] + head[-1]
        )
        return found


class PairScore:
    """Score the candidates of a question: above 0, the same answer is more likely than not.

    Immutable and safe to share among threads.

    Args:
        bound: weights with a head, None where the embedder is another.
        generic: weights that hold for any embedder: a cosine counts little in them.
        version: 16 bytes, a hash of the weights.
    """

    def __init__(self, *, bound: Weights | None, generic: Weights, version: bytes) -> None:
        self._bound: Final = bound
        self._generic: Final = generic
        self.version: Final = version
        """16 bytes; scores of another version are not comparable."""

    @property
    def bound(self) -> bool:
        """Whether the part trained on the vectors of this very embedder is in use."""
        return self._bound is not None

    @classmethod
    def load(cls, space: bytes | None = None) -> PairScore:
        """The bundled weights.

        Args:
            space: the embedder's fingerprint, 16 bytes. The part that looks into the vectors is used when
                it is the one that was trained for (the bundled model's); any other, or None, gets the
                generic part alone.
        """
        held, digest = _bundled()
        fits = space is not None and space == bytes(held["space"])
        return cls(
            bound=read(held, "bound") if fits else None,
            generic=read(held, "generic"),
            version=sha256(digest + bytes([fits])).digest()[:16],
        )

    def __call__(
        self, question: Prepared, vector: NDArray[np.float32], candidates: Sequence[CandidatePair]
    ) -> NDArray[np.float64]:
        """Log-odds that each candidate's answer is the question's, shape (n,), -8 to 8.

        Args:
            question: its text.
            vector: float32, shape (dim,), of norm 1.
            candidates: a candidate without a vector gets the generic score.
        """
        if not candidates:
            return np.zeros(0)
        if self._bound is None:
            return self._generic.score(question, None, candidates)
        whole = [other is not None for _, other, _ in candidates]
        if all(whole):
            return self._bound.score(question, vector, candidates)
        found = self._generic.score(question, None, candidates)
        if any(whole):
            kept = [candidate for candidate, fit in zip(candidates, whole, strict=True) if fit]
            found[np.array(whole)] = self._bound.score(question, vector, kept)
        return found


def read(held: dict[str, NDArray[Any]], part: str) -> Weights:
    """One part of a weights file.

    Raises:
        ValueError: it is for other features than these.
    """
    names = bytes(held["features"]).decode().split()
    if tuple(names) != NAMES:
        raise ValueError("the weights are for other features; train them anew with tools/train_decision.py")
    scale = held[f"{part}_scale"].tolist()
    head = held[f"{part}_head"]
    return Weights(
        Trees(*(held[f"{part}_{name}"] for name in Trees._fields)),
        base=scale[0],
        scale=(scale[1], scale[2]),
        cosine=(scale[3], scale[4]),
        share=scale[5],
        head=head if head.size else None,
    )


@cache
def _bundled() -> tuple[dict[str, NDArray[Any]], bytes]:
    folder = files(__package__) / "weights"
    raw = (folder / "pairs.npz").read_bytes()
    with np.load(BytesIO(raw), allow_pickle=False) as held:
        arrays = {name: held[name] for name in held.files}
    words = (folder / "words.npz").read_bytes()
    return arrays, sha256(raw + sha256(words).digest()).digest()
