"""One answer, read once: all that comparing it needs. Pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from asynccache.decision._answer_quantities import Quantity, quantities
from asynccache.decision._answer_text import bare, code_of, folded, refuses
from asynccache.decision._answer_words import denied, leaning, sides, stems, words

__all__ = ["Reading", "other_names", "read"]

_NAME: Final = re.compile(r"[^\W\d_][\w'-]*\d[\w-]*|[^\W\d_][\w'-]*")
_SENTENCE: Final = re.compile(r"(?:^|[.!?:]\s+|\"\s*)(?=\S)")
_PLACE: Final = re.compile(r"https?://[^\s)>\"']+|\b[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,8}")
_CODE_WORD: Final = re.compile(r"[^\W\d]\w+|\d+(?:\.\d+)?|[^\w\s\"']")
_FEW: Final = 6
"""Words up to which a text is no sentence, so that a capital at its beginning means a name."""


_NAME_WORDS: Final = 3


class Reading(NamedTuple):
    """What is in an answer."""

    said: str
    """As ``says`` gives it."""
    bare: str
    """As ``bare`` gives it."""
    words: tuple[str, ...]
    """All of them, in order."""
    refuses: bool
    leaning: bool | None
    """True for an answer that begins with a yes, False for a no."""
    stems: frozenset[str]
    names: frozenset[str]
    """Stems of the words that are written like names."""
    quantities: tuple[Quantity, ...]
    denied: frozenset[str]
    """Stems of the words that follow a denial."""
    sides: frozenset[str]
    """Stems that have an opposite."""
    places: frozenset[str]
    """Addresses: of the web and of mail."""
    code: tuple[str, ...]
    """Words and signs of the code in it, quotes aside."""
    length: int
    """Words."""


def read(text: str) -> Reading:
    """Read an answer of any length."""
    plain = bare(text)
    said = folded(plain)
    all_words = words(said)
    return Reading(
        said=said,
        bare=plain,
        words=tuple(all_words),
        refuses=refuses(said),
        leaning=leaning(said),
        stems=frozenset(stems(all_words)),
        names=frozenset(_names(plain)),
        quantities=tuple(quantities(said)),
        denied=frozenset(denied(all_words)),
        sides=frozenset(sides(all_words)),
        places=frozenset(place.rstrip(".,;:") for place in _PLACE.findall(said)),
        code=tuple(_CODE_WORD.findall(code_of(text))),
        length=max(1, len(all_words)),
    )


def other_names(one: Reading, other: Reading) -> bool:
    """Whether two answers are each nothing but a name, and not the same one."""
    if one.stems & other.stems or not (_is_name(one) and _is_name(other)):
        return False
    initials, initials_other = ("".join(word[0] for word in each.words) for each in (one, other))
    return one.words != (initials_other,) and other.words != (initials,)


def _is_name(answer: Reading) -> bool:
    return (
        0 < len(answer.words) <= _NAME_WORDS
        and answer.stems <= answer.names
        and answer.leaning is None
        and not answer.quantities
    )


def _names(plain: str) -> set[str]:
    starts = set() if plain.count(" ") < _FEW else {match.end() for match in _SENTENCE.finditer(plain)}
    found: set[str] = set()
    for match in _NAME.finditer(plain):
        word = match.group()
        like_a_name = word[0].isupper() and (match.start() not in starts or word[1:] != word[1:].lower())
        if like_a_name or any(sign.isdigit() for sign in word):
            found.update(stems([word.casefold()]))
    return found
