"""What is learnt from: labelled pairs of BANKING77 and SNIPS questions, of our own, and of both, changed."""

# ruff: noqa: FBT003, PLR2004 - a label is a boolean, and a share of a training set has no name

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from _decision_edits import edited
from _decision_rewords import reworded
from numpy.typing import NDArray

__all__ = ["Pair", "Text", "generated", "mined", "together"]

NEAREST: Final = 8
LEAST: Final = 0.5  # cosine of a pair worth learning from: below it nobody asks


class Text(NamedTuple):
    """A question and what it shares with others of the same answer."""

    text: str
    answer: str


class Pair(NamedTuple):
    """Two places in a list of texts."""

    a: int
    b: int
    same: bool
    source: str


def mined(texts: Sequence[Text], vectors: NDArray[np.float32], source: str) -> list[Pair]:
    """Each question with its nearest earlier ones: what a cache would propose."""
    found: list[Pair] = []
    for start in range(0, len(texts), 512):
        end = min(start + 512, len(texts))
        cosines = vectors[start:end] @ vectors[:end].T
        cosines[np.arange(end)[None] >= np.arange(start, end)[:, None]] = -1
        top = np.argsort(-cosines, axis=1)[:, :NEAREST]
        for at, row in enumerate(top):
            for other in row:
                if cosines[at, other] >= LEAST:
                    same = texts[start + at].answer == texts[other].answer
                    found.append(Pair(start + at, int(other), same, source))
    return found


def together(texts: Sequence[Text], chance: random.Random, count: int, source: str) -> list[Pair]:
    """Pairs with the same answer, however far apart."""
    groups: dict[str, list[int]] = defaultdict(list)
    for at, text in enumerate(texts):
        groups[text.answer].append(at)
    large = [group for group in groups.values() if len(group) > 1]
    found = {tuple(sorted(chance.sample(chance.choice(large), 2))) for _ in range(count)}
    return [Pair(a, b, True, source) for a, b in sorted(found)]


def generated(texts: Sequence[Text], chance: random.Random, source: str) -> tuple[list[Text], list[Pair]]:
    """For each text: rewordings (same), edits (different), and an edit against a rewording (different).

    Places in the pairs are those of the texts given, followed by those returned.
    """
    new: list[Text] = []
    pairs: list[Pair] = []

    def place(text: str, answer: str) -> int:
        new.append(Text(text, answer))
        return len(texts) + len(new) - 1

    for at, text in enumerate(texts):
        others = [
            word for word in {reworded(text.text, chance, steps) for steps in (1, 2, 3)} if word != text.text
        ]
        kept = [place(word, text.answer) for word in sorted(others)]
        pairs += [Pair(at, word, True, f"{source}-reworded") for word in kept]
        if len(kept) > 1:
            pairs.append(Pair(kept[0], kept[-1], True, f"{source}-reworded"))
        for number, change in enumerate(edited(text.text, chance, 4)):
            moved = place(change, f"{text.answer} edited {number}")
            pairs.append(Pair(at, moved, False, f"{source}-edited"))
            if kept:
                pairs.append(Pair(chance.choice(kept), moved, False, f"{source}-edited"))
            if chance.random() < 0.5:
                again = reworded(change, chance, chance.choice((1, 2)))
                if again != change:
                    third = place(again, f"{text.answer} edited {number}")
                    pairs.append(Pair(at, third, False, f"{source}-edited"))
                    pairs.append(Pair(moved, third, True, f"{source}-reworded"))
    return new, pairs
