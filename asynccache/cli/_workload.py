"""What the demo asks: real questions, repeated as popularity repeats them. The same on each run."""

from __future__ import annotations

import random
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

__all__ = ["ATTRIBUTION", "EXPONENT", "SEED", "Ask", "questions", "workload"]

ATTRIBUTION: Final = "BANKING77 (Casanueva et al. 2020), CC BY 4.0"
SEED: Final = 77
EXPONENT: Final = 0.8
"""The question of rank r is asked in proportion to r ** -EXPONENT: an assumption, and the demo says so."""

_STREAMED_EVERY: Final = 4


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of the demo."""

    question: str
    streamed: bool


def questions() -> dict[str, str]:
    """The distinct questions, each with its intent: those of one intent ask for the same in other words."""
    text = files("asynccache.cli").joinpath("data", "questions.txt").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    intent = ""
    for line in text.splitlines():
        if line.startswith("["):
            intent = line.strip("[]")
        else:
            found[line] = intent
    return found


def workload(count: int) -> list[Ask]:
    """``count`` requests; every fourth wants its answer streamed."""
    chance = random.Random(SEED)  # noqa: S311  (nothing secret)
    ranked = list(questions())
    chance.shuffle(ranked)
    weights = [rank**-EXPONENT for rank in range(1, len(ranked) + 1)]
    return [
        Ask(question, index % _STREAMED_EVERY == _STREAMED_EVERY - 1)
        for index, question in enumerate(chance.choices(ranked, weights, k=count))
    ]
