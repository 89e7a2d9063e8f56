"""Words that only one of two texts has: which of them pair off, and as what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from asynccache.decision._lexicon import RARE, lexicon
from asynccache.decision._words import UNIT_KIND

__all__ = ["Leftover", "paired"]

_MOST: Final = 12
"""Words of a side that are looked at: long texts with nothing in common need no more to be told apart."""
_ROOT: Final = 5  # letters that two words of one family begin with, at least


class Leftover(NamedTuple):
    """What is left of both sides once they have been paired off; weights as in ``Prepared.content``."""

    ours: list[str]
    theirs: list[str]
    alike: float
    """Weight of words that have a synonym on the other side."""
    family: float
    """Weight of words that share a root with one on the other side ("invest", "investor")."""
    misspelt: int
    opposed: int
    """Pairs of opposites."""
    siblings: float
    """The weightiest word against another of its kind (two countries, two colours), by its lighter side."""
    units: int
    """Pairs of different units of one kind, and of days and months."""


def paired(
    ours: Iterable[str], theirs: Iterable[str], weights: tuple[dict[str, float], dict[str, float]]
) -> Leftover:
    """Pair off what each side has alone: synonyms, families and typing mistakes are matched.

    Opposites, siblings and units stay in what is left, for that is what they are; they are counted besides.
    """
    senses, kinds, opposites = lexicon().senses, lexicon().kinds, lexicon().opposites
    known = lexicon().weight
    left, right = list(ours), list(theirs)
    alike = family = siblings = 0.0
    misspelt = opposed = units = 0
    if not left or not right:
        return Leftover(left, right, alike, family, misspelt, opposed, siblings, units)
    nothing: frozenset[int] = frozenset()
    for word in left[:_MOST]:
        means, sort, unit = senses.get(word, nothing), kinds.get(word, nothing), UNIT_KIND.get(word)
        weight = weights[0].get(word, RARE)
        for other in right[:_MOST]:
            if (word, other) in opposites:
                opposed += 1
                break
            if unit is not None and unit == UNIT_KIND.get(other):
                units += 1
                break
            if not means.isdisjoint(senses.get(other, nothing)):
                alike += weight
            elif _related(word, other):
                family += weight
            elif (word not in known or other not in known) and _slip(word, other):
                misspelt += 1
            else:
                if not sort.isdisjoint(kinds.get(other, nothing)):
                    siblings = max(siblings, min(weight, weights[1].get(other, RARE)))
                continue
            left.remove(word)
            right.remove(other)
            break
    return Leftover(left, right, alike, family, misspelt, opposed, siblings, units)


def _related(word: str, other: str) -> bool:
    """They begin alike for most of their length."""
    return (
        word[:_ROOT] == other[:_ROOT]
        and min(len(word), len(other)) >= _ROOT
        and abs(len(word) - len(other)) <= _ROOT
        and len(word) != len(other)
    )


def _slip(word: str, other: str) -> bool:
    """One letter too many, too few or wrong, or two in each other's place; in words of four or more."""
    if len(word) > len(other):
        word, other = other, word
    if len(word) < _ROOT - 1 or len(other) - len(word) > 1 or not (word.isalpha() and other.isalpha()):
        return False
    at = 0
    while at < len(word) and word[at] == other[at]:
        at += 1
    if len(word) != len(other):
        return word[at:] == other[at + 1 :]
    rest, their = word[at + 1 :], other[at + 1 :]
    return rest == their or (word[at:][1::-1] == other[at : at + 2] and rest[1:] == their[1:])
