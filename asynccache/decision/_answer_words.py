"""Words of an answer: which say something, which deny, and which say the opposite of another. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Final

from asynccache.decision._answer_lexicon import AGREES, DENYING, DISAGREES, FILLER, PAIRS, SPELLINGS

__all__ = ["denied", "leaning", "opposed", "sides", "stems", "words"]

_WORD: Final = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_CONTRACTION: Final = re.compile(r"n't\b")
_OURS: Final = re.compile(r"(?<=[a-z]{2})our(?=s|ed|ing|ful|$)")


_ENDINGS: Final = "ations ation ings ing ies ied ers edly ed es ly er s e y"
_SUFFIXES: Final = tuple(_ENDINGS.split())
_REACH: Final = 5
"""Words after a denial in which it still means something."""
_SHORTEST: Final = 3
"""Letters a stem keeps."""


def words(said: str) -> list[str]:
    """All words in order, contractions spelt "not"."""
    return _WORD.findall(
        _CONTRACTION.sub(" not", said.replace("cannot", "can not").replace("can't", "can not"))
    )


def stems(said_words: Sequence[str]) -> set[str]:
    """The words that say something, without their endings."""
    found = {stem(word) for word in said_words if word not in FILLER and word not in DENYING}
    return found or {stem(word) for word in said_words}  # "es" is a word, and a country


def sides(said_words: Iterable[str]) -> set[str]:
    """The stems of words that have an opposite."""
    return {found for word in said_words if (found := stem(word)) in _SIDED}


def stem(word: str) -> str:
    """A word without its ending, and in one spelling."""
    word = SPELLINGS.get(word, word)
    word = _OURS.sub("or", word.removesuffix("'s")).replace("-", "")
    word = word.replace("ise", "ize") if word.endswith(("ise", "ised", "ising", "isation")) else word
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _SHORTEST:
            word = word[: -len(suffix)]
            break
    return word[:-1] if len(word) > _SHORTEST and word[-1] == word[-2] else word


def denied(said_words: Sequence[str]) -> set[str]:
    """The stems of the words that say something and follow a denial."""
    found: set[str] = set()
    for place, word in enumerate(said_words):
        if word in DENYING:
            following = (each for each in said_words[place + 1 : place + _REACH] if each not in FILLER)
            found.update(stem(each) for each in islice(following, 1) if each not in DENYING)
    return found


def leaning(said: str) -> bool | None:
    """True when a text begins with a yes, False with a no, None with neither."""
    if AGREES.search(said):
        return True
    return False if DISAGREES.search(said) else None


def opposed(one: Collection[str], other: Collection[str]) -> int:
    """Pairs of opposites of which one text has a side that the other has not, and the reverse."""
    mine, theirs = set(one) - set(other), set(other) - set(one)
    return sum(
        (low in mine and high in theirs) or (high in mine and low in theirs) for low, high in _OPPOSITES
    )


_OPPOSITES: Final = tuple((stem(one), stem(other)) for one, other in PAIRS)
"""Pairs of stems that exclude each other."""
_SIDED: Final = frozenset(side for pair in _OPPOSITES for side in pair)
