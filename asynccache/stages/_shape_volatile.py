"""Which lines of a text are different in every request: times, dates, numbers of requests, users."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

__all__ = ["VOLATILE", "Parted", "Patterns", "parted"]

Patterns: TypeAlias = "Sequence[re.Pattern[str]]"

_MONTH: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?"

# Each begins with what it looks for, and looks back afterwards: twice as fast.
VOLATILE: Final[tuple[re.Pattern[str], ...]] = (
    re.compile(r"\d{4}(?<!\d{5})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?!\d)"),
    re.compile(r"\d\d?(?<!\d{3}):[0-5]\d(?::[0-5]\d)?(?![\d:])"),
    re.compile(r"1(?<!\d\d)\d{9}(?:\d{3})?(?!\d)"),  # epoch, in seconds or milliseconds
    re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"),
    re.compile(rf"{_MONTH} \d\d?(?:st|nd|rd|th)?,? \d{{4}}"),
    re.compile(rf"\d\d? {_MONTH} \d{{4}}"),
    re.compile(
        r"^\W*(?:x-)?(?:request|trace|session|correlation|conversation)[ _-]?id\b\s*(?:[:=#]|is\b)\s*\S",
        re.IGNORECASE,
    ),
    re.compile(r"^\W*(?:current[ _-]?)?user(?:[ _-]?(?:id|name|e-?mail))?\s*[:=]\s*\S", re.IGNORECASE),
    re.compile(r"\b(?:current|today's|local) (?:date|time|day)\b[^.:=]{0,30}(?:[:=]|\bis\b)", re.IGNORECASE),
    re.compile(r"^\W*(?:(?:date|time|now|timestamp)\s*[:=]|today is\b|it is now\b)\s*\S", re.IGNORECASE),
)
"""What tells a volatile line, by default."""

_LONGEST: Final = 300
"""Characters; a longer line is prose with a date in it, and no line about the date."""
_MOST_WORDS: Final = 16
"""Likewise."""
_FENCE: Final = re.compile(r"\s*(?:```|~~~)")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+")


class Parted(NamedTuple):
    """A text in two."""

    rest: str
    """What stays; blank when nothing does."""
    moved: tuple[str, ...]
    """The volatile lines, in their order, without the white space around them."""


def parted(text: str, patterns: Patterns = VOLATILE) -> Parted:
    """Take the volatile lines out of a text; of a text of one line, the volatile sentences it begins with.

    A line is volatile when a pattern is found in it and it is short (at most 300 characters and 16
    words). Lines in fenced code are examples and stay. Taking the rest apart again moves nothing.
    """
    kept: list[str] = []
    moved: list[str] = []
    fenced = False
    lines = text.split("\n")
    several = sum(not _blank(line) for line in lines) > 1
    for line in lines:
        fence = _FENCE.match(line) is not None
        if several and not fence and not fenced and _volatile(line, patterns):
            moved.append(line.strip())
        else:
            kept.append(line)
        fenced ^= fence
    rest = "\n".join(kept)
    if sum(not _blank(line) for line in kept) == 1:
        rest, sentences = _beginning(rest, patterns)
        moved += sentences
    return Parted(rest, tuple(moved))


def _beginning(text: str, patterns: Patterns) -> tuple[str, list[str]]:
    """The volatile sentences a line begins with, and what follows them."""
    start = len(text) - len(text.lstrip())
    moved: list[str] = []
    ends = [(found.start(), found.end()) for found in _SENTENCE_END.finditer(text, start)]
    at = start
    for end, following in [*ends, (len(text), len(text))]:
        if not _volatile(text[at:end], patterns):
            break
        moved.append(text[at:end].strip())
        at = following
    return text[:start] + text[at:], moved


def _blank(line: str) -> bool:
    return not line or line.isspace()


def _volatile(line: str, patterns: Patterns) -> bool:
    stripped = line.strip()
    return (
        0 < len(stripped) <= _LONGEST
        and len(stripped.split()) <= _MOST_WORDS
        and any(pattern.search(stripped) for pattern in patterns)
    )
