"""Whether a text asks for more than another one does, in a sentence of its own."""

from __future__ import annotations

import re
from typing import Final

from asynccache.decision.prepared import Prepared, prepare

__all__ = ["says_more"]

_ENDS: Final = re.compile(r"(?<=[.?!;])\s+|\n+")
_SHARE: Final = 0.34
"""Of a sentence's words that the other text must have as well, or it is about something else."""


def says_more(text: str, other: Prepared) -> bool:
    """True when a sentence of a text has hardly a word of another text.

    Words before or after a question pull its vector, and labels nearby its score, towards another one; what
    it asks besides is then not answered. Greetings and thanks have no words that count.
    """
    sentences = _ENDS.split(text.strip())
    if len(sentences) < 2:  # noqa: PLR2004  (one sentence is weighed as a whole)
        return False
    known = {*other.content, *other.numbers}
    for sentence in sentences:
        read = prepare(sentence)
        words = {*read.content, *read.numbers}
        if words and len(words & known) < _SHARE * len(words):
            return True
    return False
