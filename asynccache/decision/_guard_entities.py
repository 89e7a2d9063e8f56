"""What a text names: proper names, acronyms, identifiers, quotations, addresses. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from asynccache.decision._guard_units import UNITS
from asynccache.decision._guard_words import DAYS, MONTHS, listed

__all__ = ["Names", "names_of", "strange"]

_QUOTED: Final = re.compile(
    r"\"([^\"\n]{1,200})\"|“([^”\n]{1,200})”|«([^»\n]{1,200})»|\u2018([^\u2019\n]{1,200})\u2019|`([^`\n]{1,200})`"
    r"|(?<!\w)'([^'\n]{1,200})'(?!\w)"
)
_QUOTES: Final = frozenset("\"“«\u2018`'")
_AROUND: Final = ".,;:!?()[]{}<>\"'“”\u2018\u2019«»…*~|`"
_PARTS: Final = re.compile(r"[^\W_]+(?:\+\+|\#)?")
_CODE: Final = re.compile(
    r"https?://.+|www\..+|[^\s@]+@[^\s@]+\.\w+|[-$@#]{1,2}[^\W\d][\w-]*|[.~]{0,2}(?:/[\w.-]+)+|\.\w{2,}"
    r"|_*[^\W_]+(?:(?:\.|::|->|_+)[^\W_]+)+_*(?:\(\))?|\w+\(.{0,40}|_+\w+|[a-z]+[A-Z]\w*|\w+\+\+|\w\#|0x[0-9a-fA-F]+"
)
_PLAIN_NUMBER: Final = re.compile(r"[-+]?[\d.,:/%-]+")
_DOTS: Final = re.compile(r"(?:[A-Za-z]\.){2,}[A-Za-z]?")
_ROMAN: Final = re.compile(r"[ivx]{2,}")
_SELF: Final = frozenset(
    (
        "I",
        "A",
        "OK",
        "I'm",
        "I\u2019m",
        "I've",
        "I\u2019ve",
        "I'd",
        "I\u2019d",
        "I'll",
        "I\u2019ll",
        "AM",
        "PM",
    )
)
_LONGEST: Final = 200
"""Characters; what goes on longer without a blank is no word."""
_TITLE_WORDS: Final = 4
_TITLE_SHARE: Final = 0.7
_SAME: Final = {
    "US": "usa", "USA": "usa", "U.S": "usa", "U.S.A": "usa", "U.K": "uk", "E.U": "eu",
}  # fmt: skip
_FULL_NAMES: Final = listed(
    "january february march april may june july august september october november december"
)

_STARTERS: Final = frozenset(
    listed(
        """
        a about according activate add advantages advice after all also am an analyse analyze and answer
        any anybody anyone apart apply are argue as ask assess at bake based be before being benefits
        besides best better between book both brainstorm briefly build but buy by calculate call can
        cancel cannot causes change check choose classify close common compare complete compute connect
        cons consequences consider continue contrast convert cook correct could count create credit
        current currently deactivate debug decide decrease define delete derive describe design despite
        determine did difference differences different disable disadvantages disconnect discuss do does
        done download draft draw drawbacks drink drive due during each easiest eat edit effect effects
        either email enable end error estimate evaluate every everyone example examples except explain
        extract facts fast fastest few fill find first fix following for format free from generate get
        getting give given giving go good great guide had has have having he hear hello help her here
        hey hi his history how however i identify if imagine implement improve in increase info
        information install instead interesting introduce is issue issues it its join just keep label
        last latest learn least leave let lets like list listen log looking mail major make making many
        may maybe me meaning measure meet method methods might more most move much must my name names
        need needed never new next no nobody not nothing now of ok okay on once one only open options or
        order organise organize other our outline paint paraphrase pay people perhaps pick plan play
        please plot possible predict prepare problem problems procedure process proofread pros prove
        provide purpose put question questions quick quickest rank rate read reason reasons recommend
        recommended reduce refactor remind remove rephrase replace reserve reset restore return reverse
        rewrite run say schedule search see sell send set several shall she should show sign simple
        since so solution solutions solve some somebody someone sort speak state step steps still stop
        suggest suggestions summarise summarize summary suppose take talk teach tell test thank thanks
        that the their them then there these they things think this those though tips to today top
        transfer translate travel trouble troubles try trying turn two type types under understand until
        update upgrade upload us use used useful using usually verify visit want was watch way ways we
        were what what's whats when whens where wheres which while who whom whos whose why will with
        within without wondering worst would write yes yet you your
        """
    )
)
"""Words that questions begin with: their capital letter says nothing."""


class Names(NamedTuple):
    """What a text names, and in which words it does anything."""

    names: frozenset[str]
    """In lower case."""
    words: frozenset[str]
    """All its words, in lower case, with and without a plural's s."""
    text: str
    """Its words in order, in lower case, with a blank between them and at both ends."""


def names_of(text: str) -> Names:
    """Read a text.

    A capital letter says nothing in a text that is written all in capitals or as a title, nor in a word that
    questions begin with. Units and Roman numerals are left to the other guards.
    """
    names: list[str] = []
    rest = text
    if not _QUOTES.isdisjoint(text):
        names += [" ".join(_words(match.group())) for match in _QUOTED.finditer(text)]
        rest = _QUOTED.sub(lambda found: f" {found.group()[1:-1]} ", text)
    chunks = rest.split()
    cased, shouted = _cased(chunks), text.isupper()
    for chunk in chunks:
        if not (chunk.isalpha() and chunk.islower()):
            names += _named(chunk, cased=cased, shouted=shouted)
    words = list(_words(text))
    known = {*words, *(word[:-1] for word in words if word.endswith("s")), *(f"{word}s" for word in words)}
    return Names(frozenset(name for name in names if name), frozenset(known), f" {' '.join(words)} ")


def strange(one: Names, other: Names) -> bool:
    """Whether one of the texts names what the other has not, not even in lower case."""
    return _lacks(one.names - other.names, other) or _lacks(other.names - one.names, one)


def _lacks(names: frozenset[str], other: Names) -> bool:
    return any(name not in other.words and f" {name} " not in other.text for name in names)


def _cased(chunks: list[str]) -> bool:
    """Whether capitals mean something here."""
    words = [chunk for chunk in chunks if chunk[0].isalpha()]
    large = sum(word[0].isupper() for word in words)
    return large < _TITLE_WORDS or large < _TITLE_SHARE * len(words)


def _named(chunk: str, *, cased: bool, shouted: bool) -> Iterator[str]:
    bare = chunk.strip(_AROUND)
    if not bare or bare in _SELF or _PLAIN_NUMBER.fullmatch(bare):
        return
    known = _SAME.get(bare)
    code = chunk.rstrip(".,;:!?'\"”\u2019»`").lstrip("([{\"'“\u2018«`")
    if known is not None:
        yield known
    elif _DOTS.fullmatch(bare):
        yield bare.replace(".", "").lower()
    elif len(code) > _LONGEST or _CODE.fullmatch(code):
        yield code.lower().rstrip("()")
    else:
        for part in _PARTS.findall(_without_possessive(bare)):
            word = part.lower()
            if part in _SELF or word in UNITS or _ROMAN.fullmatch(word):
                continue
            if _says(part, cased=cased, shouted=shouted):
                yield _full(word)


def _says(part: str, *, cased: bool, shouted: bool) -> bool:
    """Whether a word is the name of something, by how it is written."""
    if not part.isalpha():
        letters = any(map(str.isalpha, part))
        return letters and not (part[0].isdigit() and part.lstrip("0123456789").isalpha())  # 2nd, 10km, 5pm
    if len(part) > 1 and part.isupper():
        return cased or not shouted
    return cased and part[0].isupper() and part.lower() not in _STARTERS


def _without_possessive(word: str) -> str:
    return word[:-2] if word.endswith(("'s", "\u2019s")) else word


def _full(word: str) -> str:
    if word in DAYS:
        return DAYS[word]
    return _FULL_NAMES[MONTHS[word] - 1] if word in MONTHS and word not in {"may", "mar"} else word


def _words(text: str) -> Iterator[str]:
    for part in _PARTS.findall(text):
        yield _SAME[part] if part in _SAME else _full(part.lower())
