"""What the pair score needs of one text, so that it is read once and kept with its entry."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from asynccache.decision._foreign import ANYWHERE, ELSEWHERE
from asynccache.decision._lexicon import RARE, lexicon
from asynccache.decision._words import CLASS, CONTRACTED, FILLER, NUMBERS, SAME

__all__ = ["Prepared", "prepare"]

_TOKENS: Final = re.compile(
    r"n['\u2019]t\b|['\u2019](?:s|m|re|ve|d|ll)\b|[^\W\d_]+?(?=n['\u2019]t\b)"
    r"|[^\W\d_]+|\d+(?:[.,]\d+)*|[^\w\s]"
)
_PAUSES: Final = frozenset(
    ".,;:?!\"'`()[]{}-_*|~\\\u2018\u2019\u201c\u201d\u2013\u2014\u2026\xab\xbb\xbf\xa1"
)
"""Signs that part and group words; any other sign is read as a word."""
_LATIN: Final = "\u024f"
"""The last letter of the Latin script's first four blocks."""
_OTHER_SCRIPT: Final = 0.3
_RELATES: Final = frozenset(("direction", "link"))
_SHORT: Final = 4  # letters: shorter words have no ending to lose
_CLIPPED: Final = frozenset(("s", "m", "d", "re", "ll", "ve"))
_FULL: Final = {"s": "'s", "m": "'m", "d": "'d", "re": "'re", "ll": "will", "ve": "'ve"}
_ASKS: Final = frozenset(
    (
        *("is", "are", "do", "does", "did", "can", "could", "will", "would", "should", "has", "have"),
        *("was", "were", "may", "must", "am", "had"),
    )
)


class Prepared(NamedTuple):
    """One text, read. Immutable: nothing of it may be changed."""

    tokens: tuple[str, ...]
    """All that says something, in order: base forms, closed-class words, numbers and signs."""
    content: dict[str, float]
    """Content words by their base form, in order of first occurrence, and how much each tells (0 to 1.1)."""
    forms: frozenset[str]
    """Content words and numbers as they are written, in lower case."""
    numbers: tuple[str, ...]
    """Numbers in order, digits and number words alike."""
    grammar: frozenset[str]
    """The closed-class words."""
    negations: int
    roles: dict[str, str]
    """The preposition of direction or relation that each content word stands behind."""
    names: frozenset[str]
    """Base forms written with a capital letter inside a sentence that is not all capitals."""
    asks: int
    """0 a statement or a command, 1 a question with "what", "how" and so on, 2 one answered by yes or no."""
    mass: float
    """What all content words tell together."""
    low: str
    """The text in lower case."""
    foreign: float
    """Share of words that are no English ones and no names, 0 to 1; those common elsewhere count twice."""


def prepare(question: str) -> Prepared:  # noqa: C901, PLR0915 - one pass; in parts it takes twice as long
    """Read a text. Pure; some 25 µs for a dozen words.

    The first call reads the lexicon, about 50 ms.
    """
    known, weights, english = lexicon().base, lexicon().weight, lexicon().english
    familiar = strange = 0
    tokens: list[str] = []
    content: dict[str, float] = {}
    forms: list[str] = []
    numbers: list[str] = []
    roles: dict[str, str] = {}
    names: list[str] = []
    negations = 0
    role = before = ""
    first = True  # of a sentence
    asks = 0
    shouted = question.isupper()
    for raw in _TOKENS.findall(question):
        word = raw.lower()
        if word in _PAUSES:
            first = first or word in ".?!:"
            continue
        if word[0] in "'\u2019n" and word not in known:
            word = word.replace("\u2019", "'")
        if word in _CLIPPED and (before in CLASS or before == "there"):
            word = _FULL[word]  # an apostrophe left out: "what s", "i d like"
        opening, first = first, False
        if opening and not asks and word in _ASKS:
            asks = 2
        before = word
        if word in CONTRACTED:
            tokens.append("not")
            negations += 1
            word = CONTRACTED[word]
        if word in FILLER:
            familiar += 1
            continue
        word = SAME.get(word, word)
        if word == "i" and raw == "US":
            word = "usa"
        kind = CLASS.get(word)
        if kind is not None:
            familiar += 1
            tokens.append(word)
            if kind == "not":
                negations += 1
            elif kind in _RELATES:
                role = word
            elif kind == "wh" and not asks:
                asks = 1
            continue
        if word[0].isdigit() or word in NUMBERS:
            number = NUMBERS.get(word) or _number(word)
            numbers.append(number)
            tokens.append(number)
            forms.append(word)
            if role:
                roles.setdefault(number, role)
            continue
        base = known.get(word)
        if base is None:
            base = _stem(word) if word.isascii() else word
            base = known.get(base, base)
        forms.append(word)
        tokens.append(base)
        content.setdefault(base, weights.get(base, RARE))
        if role:
            roles.setdefault(base, role)
            role = ""
        named = not opening and not shouted and raw[0].isupper()
        if named:
            names.append(base)
        if word in ELSEWHERE:
            strange += 2
        elif word in ANYWHERE:
            continue
        elif word in english:
            familiar += 1
        elif word.isalpha() and not (named and word.isascii()):
            strange += 1
    return Prepared(
        tuple(tokens),
        content,
        frozenset(forms),
        tuple(numbers),
        frozenset(word for word in tokens if word in CLASS),
        negations,
        roles,
        frozenset(names),
        asks,
        sum(content.values()),
        question.lower(),
        1.0 if _written_elsewhere(question) else strange / (strange + familiar + 1),
    )


def _number(word: str) -> str:
    """One spelling for a number: "1,000" is "1000", "5.0" is "5"."""
    if "," in word:
        word = word.replace(",", "")
    if "." in word and word.count(".") == 1:
        word = word.rstrip("0").rstrip(".")
    return word


def _stem(word: str) -> str:
    """A word that nobody knows, without its ending."""
    if len(word) > _SHORT:
        if word.endswith("ies"):
            return word[:-3] + "y"
        if word.endswith("s") and not word.endswith(("ss", "us", "is")):
            return word[:-1]
        if len(word) > _SHORT + 2 and word.endswith("ing"):
            return word[:-3]
        if len(word) > _SHORT + 1 and word.endswith("ed"):
            return word[:-2]
    return word


def _written_elsewhere(text: str) -> bool:
    """Over 30 % of the letters are of another script than the Latin one."""
    if text.isascii():
        return False
    letters = [letter for letter in text if letter.isalpha()]
    return sum(letter > _LATIN for letter in letters) > _OTHER_SCRIPT * len(letters)
