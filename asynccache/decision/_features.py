"""What two prepared texts look like side by side: one row of numbers, the same whichever is first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import log
from typing import Final

from asynccache.decision._matching import paired
from asynccache.decision._words import CLASS
from asynccache.decision.prepared import Prepared

__all__ = ["NAMES", "features"]

NAMES: Final = (
    *(
        "cosine",
        "distance_by_length",
        "shared",
        "contained",
        "only_most",
        "only_least",
        "rarest_most",
        "rarest_least",
    ),
    *(
        "count_most",
        "count_least",
        "alike",
        "family",
        "misspelt",
        "opposed",
        "siblings",
        "units",
        "inflected",
    ),
    *("numbers_both", "numbers_one", "numbers_moved", "negations", "asks"),
    *("wh_both", "wh_one", "quantity_both", "quantity_one", "modal_both", "modal_one", "tense"),
    *("person_both", "person_one", "direction_both", "direction_one", "link_both", "link_one"),
    *(
        "names_most",
        "names_least",
        "moved",
        "roles",
        "crossed",
        "prefix",
        "suffix",
        "middle_least",
        "middle_most",
    ),
    *("middle_mass_least", "middle_mass_most", "same_bag", "length_ratio", "length_difference", "log_length"),
    *("tail", "trimmed", "commands", "letters"),
)
"""The columns, in order."""

_BOTH: Final = ("wh", "quantity", "modal", "person", "direction", "link")


def features(ours: Prepared, theirs: Prepared, cosine: float) -> list[float]:
    """The row of a pair; symmetric.

    ``*_most`` and ``*_least``: of the two sides, the one with more and the one with less of it.
    ``*_both`` and ``*_one``: how often something stands against something else, and against nothing.
    """
    if theirs.tokens < ours.tokens:
        ours, theirs = theirs, ours  # which words pair off depends on who chooses
    a, b = ours.content, theirs.content
    only_a, only_b = a.keys() - b.keys(), b.keys() - a.keys()
    if only_a and only_b:
        # In the order of the text, so that the row does not depend on how a set is laid out.
        left = paired([w for w in a if w in only_a], [w for w in b if w in only_b], (a, b))
        rest_a, rest_b, soft = left.ours, left.theirs, left[2:]
    else:
        rest_a, rest_b, soft = list(only_a), list(only_b), (0.0, 0.0, 0, 0, 0.0, 0)
    weights_a, weights_b = [a[w] for w in rest_a], [b[w] for w in rest_b]
    mass_a, mass_b = sum(weights_a), sum(weights_b)
    top_a, top_b = max(weights_a, default=0.0), max(weights_b, default=0.0)
    both = max(ours.mass + theirs.mass - mass_a - mass_b, 0.0)
    shared = both / (both + mass_a + mass_b + 1e-6)
    contained = 1 - min(mass_a / (ours.mass + 1e-6), mass_b / (theirs.mass + 1e-6))
    least_tokens, most_tokens = sorted((len(ours.tokens), len(theirs.tokens)))
    prefix, suffix = _ends(ours.tokens, theirs.tokens)
    if prefix == least_tokens == most_tokens:
        middle_a = middle_b = 0.0
    else:
        middle_a = _mass(ours, prefix, suffix)
        middle_b = _mass(theirs, prefix, suffix)
    grammar = _grammar(ours.grammar, theirs.grammar)
    tense = grammar.pop()
    numbers_both, numbers_one, numbers_moved = _numbers(ours.numbers, theirs.numbers)
    moved, tail = _order(ours, theirs)
    roles, crossed = _roles(ours, theirs)
    names_a = sum(w in ours.names for w in rest_a)
    names_b = sum(w in theirs.names for w in rest_b)
    extent = log(1 + most_tokens)
    return [
        cosine,
        (1 - cosine) * extent,
        shared,
        contained,
        max(mass_a, mass_b),
        min(mass_a, mass_b),
        max(top_a, top_b),
        min(top_a, top_b),
        max(len(rest_a), len(rest_b)),
        min(len(rest_a), len(rest_b)),
        *soft,
        max(len(ours.forms ^ theirs.forms) - len(only_a) - len(only_b), 0),
        numbers_both,
        numbers_one,
        numbers_moved,
        abs(ours.negations - theirs.negations),
        float(ours.asks != theirs.asks),
        *grammar[:6],
        tense,
        *grammar[6:],
        max(names_a, names_b),
        min(names_a, names_b),
        moved,
        roles,
        crossed,
        prefix / (most_tokens + 1e-6),
        suffix / (most_tokens + 1e-6),
        least_tokens - prefix - suffix,
        most_tokens - prefix - suffix,
        min(middle_a, middle_b),
        max(middle_a, middle_b),
        float(sorted(ours.tokens) == sorted(theirs.tokens)),
        (least_tokens + 1) / (most_tokens + 1),
        most_tokens - least_tokens,
        extent,
        tail,
        float(not rest_a or not rest_b),
        float(not ours.asks and not theirs.asks),
        _letters(ours.low, theirs.low),
    ]


def _ends(a: Sequence[str], b: Sequence[str]) -> tuple[int, int]:
    """Tokens that both begin with, and that both end with; none counted twice."""
    least = min(len(a), len(b))
    prefix = 0
    while prefix < least and a[prefix] == b[prefix]:
        prefix += 1
    suffix = 0
    while suffix < least - prefix and a[-1 - suffix] == b[-1 - suffix]:
        suffix += 1
    return prefix, suffix


def _mass(text: Prepared, prefix: int, suffix: int) -> float:
    """What the content words between common beginning and common end tell."""
    content = text.content
    return sum(content.get(token, 0.0) for token in text.tokens[prefix : len(text.tokens) - suffix])


def _grammar(a: frozenset[str], b: frozenset[str]) -> list[float]:
    """For each closed class the words that stand against another, and against none; then tense."""
    sides: dict[str, list[int]] = {}
    for side, words in ((0, a - b), (1, b - a)):
        for word in words:
            sides.setdefault(CLASS[word], [0, 0])[side] += 1
    row: list[float] = []
    for name in _BOTH:
        counts = sides.get(name)
        row += (min(counts), max(counts) - min(counts)) if counts else (0, 0)
    row.append(sum(sides.get("tense", (0, 0))))
    return row


def _numbers(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[float, float, float]:
    """Numbers against others, numbers against none, and whether the same ones stand in another order."""
    if a == b:
        return 0, 0, 0
    rest = list(b)
    lone = 0
    for number in a:
        if number in rest:
            rest.remove(number)
        else:
            lone += 1
    return min(lone, len(rest)), abs(lone - len(rest)), float(not lone and not rest)


def _order(ours: Prepared, theirs: Prepared) -> tuple[float, float]:
    """How many neighbours among shared words stand the other way round; what follows the last shared word."""
    place = {word: at for at, word in enumerate(theirs.content)}
    order = [place[word] for word in ours.content if word in place]
    moved = sum(later < earlier for earlier, later in pairwise(order))
    if not order:
        return 0, 0
    mine = list(ours.content)
    last = max(at for at, word in enumerate(mine) if word in place)
    return moved, max(len(mine) - 1 - last, len(place) - 1 - max(order))


def _roles(ours: Prepared, theirs: Prepared) -> tuple[float, float]:
    """Shared words behind another preposition, or behind one in one text alone.

    And whether they have only changed places, one of them behind a word of direction ("than", "from").
    """
    a, b = ours.roles, theirs.roles
    if a == b:
        return 0, 0
    shared = ours.content.keys() & theirs.content.keys()
    differ = [word for word in shared if a.get(word, "") != b.get(word, "")]
    was, now = sorted(a.get(word, "") for word in differ), sorted(b.get(word, "") for word in differ)
    crossed = len(differ) > 1 and was == now and any(CLASS.get(role) == "direction" for role in was)
    return len(differ), float(crossed)


def _letters(a: str, b: str) -> float:
    """Share of the groups of three letters that both have."""
    mine, their = _grams(a), _grams(b)
    both = len(mine & their)
    return both / (len(mine) + len(their) - both + 1e-6)


@lru_cache(maxsize=64)
def _grams(text: str) -> frozenset[tuple[str, str, str]]:
    """Letters in threes. One question meets three candidates; kept with every entry they cost 3 kB each."""
    return frozenset(zip(text, text[1:], text[2:], strict=False))
