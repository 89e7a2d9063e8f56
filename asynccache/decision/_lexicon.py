"""Content words: their base form, how rare they are, and which mean the same, the opposite, or a sibling."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from io import BytesIO
from math import log
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["RARE", "Lexicon", "lexicon"]

RARE: Final = 1.1
"""The weight of a word that is not in the lexicon; of the rarest one that is, 1."""


class Lexicon(NamedTuple):
    """English as the bundled model's vocabulary has it, explained by WordNet. Not to be written to."""

    base: dict[str, str]
    """Every known word, and the form it is compared in."""
    weight: dict[str, float]
    """How much a base form tells, 0 to 1: its rank among all words, as a logarithm."""
    english: frozenset[str]
    """The known words that WordNet has, in any form: the vocabulary also holds names and foreign words."""
    senses: dict[str, frozenset[int]]
    """What a base form can mean. Absent: nothing that another word means too."""
    kinds: dict[str, frozenset[int]]
    """What a base form is one of."""
    opposites: frozenset[tuple[str, str]]
    """Base forms that mean the opposite of each other, both ways round."""


@cache
def lexicon() -> Lexicon:
    """The bundled lexicon, read once (about 50 ms)."""
    raw = (files("asynccache.decision") / "weights" / "words.npz").read_bytes()
    with np.load(BytesIO(raw), allow_pickle=False) as held:
        words = bytes(held["words"]).decode().split("\n")
        bases = [words[at] for at in held["base"].tolist()]
        english = np.unpackbits(held["english"])[: len(words)].astype(bool).tolist()
        senses = _sets(words, held["senses"], held["senses_ends"])
        kinds = _sets(words, held["kinds"], held["kinds_ends"])
        pairs = [(words[a], words[b]) for a, b in held["opposites"].tolist()]
    top = log(len(words))
    weight: dict[str, float] = {}
    for rank, base in enumerate(bases):
        weight.setdefault(base, log(rank + 2) / top)  # words stand in the order of their ranks
    return Lexicon(
        base=dict(zip(words, bases, strict=True)),
        weight=weight,
        english=frozenset(word for word, known in zip(words, english, strict=True) if known),
        senses=senses,
        kinds=kinds,
        opposites=frozenset([*pairs, *((b, a) for a, b in pairs)]),
    )


def _sets(
    words: list[str], numbers: NDArray[np.uint16], ends: NDArray[np.uint32]
) -> dict[str, frozenset[int]]:
    flat, start, found = numbers.tolist(), 0, {}
    for word, end in zip(words, ends.tolist(), strict=True):
        if end > start:
            found[word] = frozenset(flat[start:end])
        start = end
    return found
