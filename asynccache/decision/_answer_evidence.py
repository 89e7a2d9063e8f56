"""What speaks for and against two answers saying the same. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from asynccache.decision._answer_order import swapped
from asynccache.decision._answer_quantities import Quantity, agree, quantities
from asynccache.decision._answer_words import opposed, sides, stems, words

if TYPE_CHECKING:
    from asynccache.decision._answer_reading import Reading

__all__ = ["Evidence", "evidence"]

_QUOTED: Final = 5
"""Words of an answer that another can be expected to repeat as they are."""
_LONG: Final = 40
"""Words from which an answer is not short at all."""


class Evidence(NamedTuple):
    """Numbers from 0, nothing of it, to 1 where no other end is said."""

    shared: float
    """Content words in both, of all."""
    contained: float
    """Content words in both, of those of the answer that has fewer."""
    own_apart: float
    """1 when both have words that are in neither question, and none of them in common."""
    quoted: float
    """1 when one answer is of few words, and the other has just these in a row."""
    numbers_agree: float
    """Quantities in both, of those of the answer that has fewer."""
    numbers_apart: float
    """Quantities that only one has, as far as the other has such too: 0 to 2."""
    numbers_asked: float
    """A quantity that only its own question has is in one answer alone: 0.5 for one answer, 1 for both."""
    names_apart: float
    """Names that only one has, as far as the other has such too: 0 to 3."""
    opposite: float
    """Pairs of opposites, one side in each: 0 to 2."""
    asked_opposite: float
    """1 when the questions have a side each of a pair of opposites."""
    asked_apart: float
    """As ``numbers_asked``, with words."""
    choice_apart: float
    """1 when each answer repeats a word of both questions that the other answer does not."""
    code_apart: float
    """Code that is not in both, of all; 0 unless both have some."""
    places_apart: float
    """1 when both name addresses and none is the same."""
    short: float
    """1 when the shorter is one word, falling to 0 at 40."""
    denied_apart: float
    """Words that one denies and the other says: 0 to 2."""
    swapped: float
    """1 when a few names or quantities that both have come in another order."""


def evidence(asked: str, stored_for: str, fresh: Reading, stored: Reading) -> Evidence:
    """Compare two answers; the questions as ``says`` gives them."""
    asked_words, stored_words = words(asked), words(stored_for)
    ask, ask_for = stems(asked_words), stems(stored_words)
    one, other = fresh.stems, stored.stems
    both = one & other
    # Of words that both questions offer, such as "left or right?", an answer chooses.
    chosen, chosen_other = (one - other) & ask & ask_for, (other - one) & ask & ask_for
    own, own_other = (one - ask - ask_for) | chosen, (other - ask - ask_for) | chosen_other
    numbers = _Numbers.of(fresh.quantities, stored.quantities)
    numbers_of_questions = _Numbers.of(quantities(asked), quantities(stored_for))
    # What an answer repeats of its question tells which question it answers.
    repeats = bool((ask - ask_for) & (one - other)), bool((ask_for - ask) & (other - one))
    repeats_numbers = (
        _any_agree(numbers_of_questions.only, numbers.only),
        _any_agree(numbers_of_questions.only_other, numbers.only_other),
    )
    denied = (fresh.denied & other) - stored.denied, (stored.denied & one) - fresh.denied
    return Evidence(
        shared=len(both) / max(1, len(one | other)),
        contained=len(both) / max(1, min(len(one), len(other))),
        own_apart=float(bool(own and own_other and not own & own_other)),
        quoted=float(_quoted(fresh, stored) or _quoted(stored, fresh)),
        numbers_agree=numbers.agreeing,
        numbers_apart=min(2.0, _weight(numbers.only), _weight(numbers.only_other)),
        numbers_asked=sum(repeats_numbers) / 2,
        names_apart=float(min(3, len(fresh.names - other), len(stored.names - one))),
        opposite=min(2.0, float(opposed(fresh.sides, stored.sides))),
        asked_opposite=float(opposed(sides(asked_words), sides(stored_words)) > 0),
        asked_apart=sum(repeats) / 2,
        choice_apart=float(bool(chosen and chosen_other) and not numbers.agreeing),
        code_apart=_code_apart(fresh.code, stored.code),
        places_apart=float(bool(fresh.places and stored.places) and not fresh.places & stored.places),
        short=max(0.0, 1 - (min(fresh.length, stored.length) - 1) / (_LONG - 1)),
        denied_apart=min(2.0, float(sum(map(len, denied)))),
        swapped=float(swapped(fresh, stored)),
    )


class _Numbers(NamedTuple):
    """Two lists of quantities, compared."""

    agreeing: float
    only: list[Quantity]
    only_other: list[Quantity]

    @classmethod
    def of(cls, mine: Sequence[Quantity], theirs: Sequence[Quantity]) -> _Numbers:
        only = [each for each in mine if not any(agree(each, one) for one in theirs)]
        only_other = [each for each in theirs if not any(agree(each, one) for one in mine)]
        agreeing = min(len(mine) - len(only), len(theirs) - len(only_other))
        return cls(agreeing / max(1, min(len(mine), len(theirs))), only, only_other)


def _quoted(one: Reading, other: Reading) -> bool:
    if not 0 < len(one.words) <= _QUOTED:
        return False
    return f" {' '.join(one.words)} " in f" {' '.join(other.words)} "


def _any_agree(asked: Sequence[Quantity], answered: Sequence[Quantity]) -> bool:
    return any(agree(one, other) for one in asked for other in answered)


def _weight(found: Sequence[Quantity]) -> float:
    return sum(0.5 if each.worded and not each.kind else 1.0 for each in found)


def _code_apart(one: Sequence[str], other: Sequence[str]) -> float:
    if not one or not other:
        return 0.0
    mine, theirs = Counter(one), Counter(other)
    return 1 - (mine & theirs).total() / (mine | theirs).total()
