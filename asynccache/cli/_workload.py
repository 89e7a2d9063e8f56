"""What the demo asks: real questions, repeated as popularity repeats them. The same on each run."""

from __future__ import annotations

import random
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

__all__ = ["ATTRIBUTION", "EXPONENT", "SEED", "Ask", "questions", "workload"]

ATTRIBUTION: Final = "BANKING77 (Casanueva et al. 2020), CC BY 4.0"
SEED: Final = 77
EXPONENT: Final = 1.0
"""The question of rank r is asked in proportion to 1/r. An assumption, and the demo says so."""

_STREAMED_EVERY: Final = 4


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of the demo."""

    question: str
    streamed: bool


def questions() -> list[str]:
    """The distinct questions, the most popular first."""
    text = files("asynccache.cli").joinpath("data", "questions.txt").read_text(encoding="utf-8")
    return text.splitlines()


def workload(count: int) -> list[Ask]:
    """``count`` requests; every fourth wants its answer streamed."""
    known = questions()
    weights = [1 / rank**EXPONENT for rank in range(1, len(known) + 1)]
    drawn = random.Random(SEED).choices(known, weights, k=count)  # noqa: S311  (nothing secret)
    return [
        Ask(question, index % _STREAMED_EVERY == _STREAMED_EVERY - 1) for index, question in enumerate(drawn)
    ]
