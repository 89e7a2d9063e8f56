"""Take the lines out of a text that are different in every request: the time, the user, the request's id."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple, TypeAlias

from asynccache.stages._shape_patterns import EXAMPLE, INSTRUCTION, VOLATILE

__all__ = ["VOLATILE", "Parted", "Patterns", "parted"]

Patterns: TypeAlias = "Sequence[re.Pattern[str]]"

_LONGEST: Final = 300
"""Characters; a longer line is prose with a date in it, and no line about the date."""
_MOST_WORDS: Final = 16
"""Likewise."""
_FENCE: Final = re.compile(r"\s*(?:```|~~~)")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])(?<!\b\w\.)\s+(?!\d)")
# Where a line may be cut: after no short word that may be an abbreviation, before a capital letter.
_SURE_END: Final = re.compile(
    r"(?<=[.!?])(?<!\b\w\.)(?<!\b[A-Z][a-z]\.)(?<!\b[A-Z][a-z][a-z]\.)\s+(?=[^\Wa-z\d_])"
)


class Parted(NamedTuple):
    """A text in two."""

    rest: str
    """What stays; blank when nothing does."""
    moved: tuple[str, ...]
    """The volatile lines, in their order, without the white space around them."""


def parted(text: str, patterns: Patterns = VOLATILE) -> Parted:
    """Take the volatile lines out of a text; of a text of one line, the volatile sentences it begins with.

    A line is volatile when a pattern is found in each of its sentences, it is short (at most 300
    characters and 16 words) and it tells nobody what to do (``never``, ``if``, ``use`` …). Lines in fenced
    code stay, and so does every line from the first on that is or announces an example (``User:``,
    ``Input:``, ``for example``, ``in this format:``). Taking the rest apart again moves nothing.
    """
    kept: list[str] = []
    moved: list[str] = []
    fenced = exemplary = False
    looked = 0  # lines looked through for examples: only as far as a volatile line stands
    lines = text.split("\n")
    several = sum(not _blank(line) for line in lines) > 1
    for place, line in enumerate(lines):
        fence = _FENCE.match(line) is not None
        moves = several and not (fence or fenced or exemplary) and _volatile(line, patterns)
        if moves:
            exemplary = any(EXAMPLE.search(each) for each in lines[looked : place + 1])
            looked = place + 1
        (kept if exemplary or not moves else moved).append(line)
        fenced ^= fence
    rest = "\n".join(kept)
    if sum(not _blank(line) for line in kept) == 1:
        rest, sentences = _beginning(rest, patterns)
        moved += sentences
    return Parted(rest, tuple(line.strip() for line in moved))


def _beginning(text: str, patterns: Patterns) -> tuple[str, list[str]]:
    """The volatile sentences a line begins with, and what follows them."""
    start = len(text) - len(text.lstrip())
    moved: list[str] = []
    ends = (found.span() for found in _SURE_END.finditer(text, start))
    at = start
    for end, following in chain(ends, [(len(text), len(text))]):
        if not _volatile(text[at:end], patterns) or EXAMPLE.search(text[at:end]):
            break
        moved.append(text[at:end])
        at = following
    return text[:start] + text[at:], moved


def _blank(line: str) -> bool:
    return not line or line.isspace()


def _volatile(line: str, patterns: Patterns) -> bool:
    stripped = line.strip()
    return (
        0 < len(stripped) <= _LONGEST
        and len(stripped.split()) <= _MOST_WORDS
        and all(
            any(pattern.search(sentence) for pattern in patterns)
            for sentence in _SENTENCE_END.split(stripped)
        )
        and INSTRUCTION.search(stripped) is None
    )
