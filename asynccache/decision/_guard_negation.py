"""Whether two texts say no as often, and mean the same end of what has two. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from asynccache.decision._guard_words import NEGATORS, POLES, STRICT

__all__ = ["Polarity", "opposed", "polarity_of"]

_WORDS: Final = re.compile(r"w/o\b|[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_PREFIXES: Final = (
    "un", "dis", "in", "im", "ir", "il", "non", "de", "mis", "anti", "re", "ex", "pre", "post", "over",
    "under", "up", "down", "out", "sub", "super",
)  # fmt: skip
_SHORTEST: Final = 4
"""Letters of what a prefix may stand before: "read" is no prefix before "ad"."""
_ENDINGS: Final = ("ing", "ied", "ies", "ed", "es", "s", "e", "y")


class Polarity(NamedTuple):
    """What of a text can be turned into its opposite."""

    negations: int
    strict: frozenset[str]
    """Words that count on one side alone."""
    poles: frozenset[tuple[int, int]]
    """Axis and end of each word that has an opposite."""
    words: frozenset[str]


def polarity_of(text: str) -> Polarity:
    """Read a text."""
    words = _WORDS.findall(text.lower())
    negations = 0
    strict: list[str] = []
    poles: list[tuple[int, int]] = []
    previous = ""
    for word in words:
        if word in NEGATORS or word.endswith(("n't", "n\u2019t")):
            if previous != "or" or word != "not":  # "whether or not"
                negations += 1
        elif word in STRICT:
            strict.append(STRICT[word])
        elif word == "to" and previous.startswith("fail"):
            negations += 1
        pole = POLES.get(word)
        if pole is None and len(word) > _SHORTEST:
            pole = _STEMMED.get(_stem(word))
        if pole is not None:
            poles.append(pole)
        previous = word
    if "-free" in text:
        negations += text.count("-free")
    return Polarity(negations, frozenset(strict), frozenset(poles), frozenset(words))


def opposed(one: Polarity, other: Polarity) -> str | None:
    """How the two differ, or None."""
    if one.negations != other.negations:
        return "one of the questions is negated"
    if one.strict != other.strict:
        return "one of the questions makes an exception or a condition"
    if one.poles != other.poles and _contrary(one.poles, other.poles):
        return "the questions are about opposites"
    left, right = one.words - other.words, other.words - one.words
    if left and right and _prefixed(left, right):
        return "the questions are about opposites"
    return None


def _contrary(left: frozenset[tuple[int, int]], right: frozenset[tuple[int, int]]) -> bool:
    """Whether one has an end of an axis that the other has not, while that has the opposite one."""
    return any((axis, 1 - end) in (right if (axis, end) in left else left) for axis, end in left ^ right)


def _prefixed(left: frozenset[str], right: frozenset[str]) -> bool:
    """Whether words differ in nothing but a prefix that turns them: lock and unlock, useful and useless."""
    bare = {_stem(word) for word in right}
    rests = {rest for word in right for rest in _rests(word)}
    for word in left:
        stem = _stem(word)
        if stem in bare:
            continue  # another form of the same word
        if stem in rests or any(rest in bare or rest in rests for rest in _rests(word)):
            return True
        if word.endswith(("less", "ful")):
            root = word[:-4] if word.endswith("less") else word[:-3]
            if {f"{root}ful", f"{root}less", root} & right:
                return True
    return False


def _rests(word: str) -> list[str]:
    return [
        _stem(word[len(prefix) :])
        for prefix in _PREFIXES
        if word.startswith(prefix) and len(word) >= len(prefix) + _SHORTEST
    ]


@lru_cache(maxsize=4096)
def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) >= len(ending) + _SHORTEST - 1:
            word = word.removesuffix(ending)
            break
    return word[:-1] if len(word) > _SHORTEST and word[-1] == word[-2] else word  # "stopp", as in "stopping"


_STEMMED: Final = {_stem(word): pole for word, pole in POLES.items() if len(word) >= _SHORTEST}
