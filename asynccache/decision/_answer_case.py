"""A pair of answers, as far as it can be judged without vectors. Pure; may take a millisecond or many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from asynccache.decision._answer_evidence import Evidence, evidence
from asynccache.decision._answer_json import document, prose_that_differs
from asynccache.decision._answer_order import reordered
from asynccache.decision._answer_reading import other_names, read
from asynccache.decision._answer_text import code_of, cut, familiar, pieces, readable, refuses, says

if TYPE_CHECKING:
    from asynccache._judging import AnswerPair

__all__ = ["OpenCase", "open_case", "worthless"]

LONGEST: Final = 8000
"""Characters of an answer that are read, and of a question."""
PART: Final = 400
"""Characters embedded together: below the window of a small model in any language written with letters."""
PARTS: Final = 4
"""Of an answer, from its beginning."""

FEW: Final = 5
"""Words of which none can differ without notice, but the signs between them can."""


class OpenCase(NamedTuple):
    """What is left to weigh."""

    evidence: Evidence
    questions: tuple[str, str]
    fresh: list[str]
    stored: list[str]
    """Texts to embed: the questions, and the parts of each answer."""


def open_case(pair: AnswerPair) -> OpenCase | bool | None:
    """True the same, False different, None that nothing can be told, or what is to be weighed."""
    asked, stored_for = cut(pair.asked, LONGEST), cut(pair.stored_for, LONGEST)
    mine, theirs = cut(pair.fresh, LONGEST), cut(pair.stored, LONGEST)
    said, said_other = says(mine), says(theirs)
    if worthless(said) or worthless(said_other):
        return None
    if pair.fresh == pair.stored:
        return True
    found, found_other = document(pair.fresh), document(pair.stored)
    if found is not None and found_other is not None:
        prose = prose_that_differs(found, found_other)
        if not prose:
            return prose is not None
        mine, theirs = (cut("\n".join(texts), LONGEST) for texts in zip(*prose, strict=True))
    elif said == said_other and code_of(mine).split() == code_of(theirs).split():  # case counts in code
        # Of two that were cut, the middle may differ.
        return True if max(len(pair.fresh), len(pair.stored)) <= LONGEST else None
    if not familiar(said) or not familiar(said_other):
        return None
    fresh, stored = read(mine), read(theirs)
    if fresh.leaning is not None and stored.leaning is not None and fresh.leaning != stored.leaning:
        return False
    if fresh.words == stored.words and len(fresh.words) <= FEW:
        return None  # They differ in signs: a minus, the case of code. Nothing below would see it.
    if reordered(fresh, stored) or other_names(fresh, stored):
        return False
    return OpenCase(
        evidence(says(asked), says(stored_for), fresh, stored),
        (_head(asked), _head(stored_for)),
        pieces(readable(fresh.bare), size=PART, most=PARTS),
        pieces(readable(stored.bare), size=PART, most=PARTS),
    )


def worthless(said: str) -> bool:
    """Whether a text, as ``says`` gives it, is no answer that could be compared: nothing, or a refusal."""
    return not said or refuses(said)


def _head(question: str) -> str:
    # A short question stays as it is: its vector has been made for the lookup, and is remembered.
    question = readable(question)
    return question if len(question) <= PART else [*pieces(question, size=PART, most=1), ""][0]
