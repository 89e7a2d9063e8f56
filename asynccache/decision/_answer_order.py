"""Answers that differ in nothing but an order. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from asynccache.decision._answer_quantities import Quantity, agree
from asynccache.decision._answer_words import stem

if TYPE_CHECKING:
    from asynccache.decision._answer_reading import Reading

__all__ = ["reordered", "swapped"]

_ENUMERATION: Final = re.compile(r"[,;][^,;]{1,40}(?:[,;]|\band\b|\bor\b|$)")
_FEW: Final = 4
"""Names or quantities beyond which another order says nothing."""


def reordered(one: Reading, other: Reading) -> bool:
    """Whether two answers are made of the same words in another order that matters.

    It does not in an enumeration, unless it is one of numbers.
    """
    if one.code or other.code or one.words == other.words or sorted(one.words) != sorted(other.words):
        return False
    if one.said.startswith(("{", "[")):
        return False
    numbers, numbers_other = ([word for word in each.words if word[0].isdigit()] for each in (one, other))
    if len(numbers) > 1 and numbers != numbers_other:
        return True
    return not (_ENUMERATION.search(one.said) or _ENUMERATION.search(other.said))


def swapped(one: Reading, other: Reading) -> bool:
    """Whether a few names or quantities that both answers have come in another order."""
    return _swapped_quantities(one.quantities, other.quantities) or _swapped_names(one, other)


def _swapped_quantities(mine: Sequence[Quantity], theirs: Sequence[Quantity]) -> bool:
    order = [place for each in mine for place, one in enumerate(theirs) if agree(each, one)]
    return 1 < len(order) <= _FEW and order != sorted(order)


def _swapped_names(one: Reading, other: Reading) -> bool:
    both = one.names & other.names
    if not 1 < len(both) <= _FEW:
        return False
    mine, theirs = (
        [found for word in dict.fromkeys(each.words) if (found := stem(word)) in both]
        for each in (one, other)
    )
    return mine != theirs
