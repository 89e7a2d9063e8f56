"""From evidence to a verdict. Pure; weights and limits were fitted by ``tools/measure_judge.py``."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asynccache.decision._answer_evidence import Evidence
    from asynccache.decision._answer_nearness import Nearness

__all__ = ["features", "likely_same", "verdict"]

_SHORT: Final = 0.5
"""Of ``Evidence.short``: answers of up to about 20 words, in which a contradiction is no mere detail."""


def features(found: Evidence, near: Nearness | None) -> dict[str, float]:
    """What the weights are for, by name."""
    values = {
        "shared": found.shared,
        "contained": found.contained,
        "quoted": found.quoted,
        "numbers_agree": found.numbers_agree,
        "numbers_apart": found.numbers_apart,
        "numbers_asked": found.numbers_asked,
        "names_apart": found.names_apart,
        "opposite": found.opposite,
        "asked_opposite": found.asked_opposite,
        "asked_apart": found.asked_apart,
        "choice_apart": found.choice_apart,
        "code_apart": found.code_apart,
        "places_apart": found.places_apart,
        "short": found.short,
        "short_numbers_apart": found.short * found.numbers_apart,
        "short_own_apart": found.short * found.own_apart,
        "short_names_apart": found.short * found.names_apart,
        "short_opposite": found.short * found.opposite,
    }
    if near is not None:
        values |= {"near": near.near, "own": near.own, "own_most": near.own_most}
    return values


_WITH_VECTORS: Final = {
    "always": -1.91,
    "shared": -2.68,
    "contained": 1.77,
    "quoted": 1.51,
    "numbers_agree": 1.58,
    "numbers_apart": -1.94,
    "numbers_asked": -1.62,
    "names_apart": -0.33,
    "opposite": -0.25,
    "asked_opposite": -0.58,
    "asked_apart": -1.57,
    "choice_apart": -0.47,
    "code_apart": -4.17,
    "places_apart": -3.53,
    "short": -0.43,
    "short_numbers_apart": -0.7,
    "short_own_apart": -0.88,
    "short_names_apart": -0.34,
    "short_opposite": -3.86,
    "near": 4.99,
    "own": -10.9,
    "own_most": -4.78,
}
_WITHOUT: Final = {
    "always": 0.81,
    "shared": -2.6,
    "contained": 3.83,
    "quoted": 1.74,
    "numbers_agree": 2.14,
    "numbers_apart": -2.07,
    "numbers_asked": -0.38,
    "names_apart": -0.53,
    "opposite": -0.32,
    "asked_opposite": -0.41,
    "asked_apart": -3.11,
    "choice_apart": -0.24,
    "code_apart": -4.65,
    "places_apart": -4.63,
    "short": -0.43,
    "short_numbers_apart": -0.28,
    "short_own_apart": -0.76,
    "short_names_apart": -0.14,
    "short_opposite": -3.17,
}


def likely_same(found: Evidence, near: Nearness | None) -> float:
    """How likely the answers say the same, 0 to 1, if half of all did."""
    weights = _WITHOUT if near is None else _WITH_VECTORS
    values = features(found, near)
    odds = weights["always"] + sum(weights[name] * value for name, value in values.items())
    return 1 / (1 + exp(-max(-30.0, min(30.0, odds))))


_DIFFERENT: Final = 0.25
_SAME: Final = 0.88
_DIFFERENT_WITHOUT: Final = 0.15
_SAME_WITHOUT: Final = 0.9
"""Limits of ``likely_same``; without vectors they are wider, for the same share of errors."""


def verdict(found: Evidence, near: Nearness | None) -> bool | None:
    """True the same, False different, None in between, or when something speaks against a likely sameness."""
    likely = likely_same(found, near)
    if likely <= (_DIFFERENT_WITHOUT if near is None else _DIFFERENT):
        return False
    if likely < (_SAME_WITHOUT if near is None else _SAME) or _contradicts(found):
        return None
    return True


_ALIKE: Final = 0.5
"""Of ``Evidence.shared``: as alike as this, a denial is the difference."""
_CODE: Final = 0.35
"""Of ``Evidence.code_apart``: more than other names for the same variables."""


def _contradicts(found: Evidence) -> bool:
    # Such small edits are rare among the pairs that the weights were fitted to; elsewhere they may not be.
    if found.asked_opposite or found.places_apart or found.code_apart > _CODE:
        return True
    if found.denied_apart > 1 or (found.denied_apart and found.shared >= _ALIKE):
        return True
    return found.short >= _SHORT and bool(found.swapped or found.opposite or found.numbers_apart)
