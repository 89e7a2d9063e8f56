"""Small changes to a question after which its answer is another one."""

# ruff: noqa: E501, PLR2004, SIM905 - word lists read best as words, and shares of a training set have no names

from __future__ import annotations

import random
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Final, TypeAlias

from _decision_topics import LISTS

from asynccache.decision._lexicon import lexicon
from asynccache.decision._words import CLASS, FILLER, NUMBERS, UNIT_KIND

__all__ = ["EDITS", "edited"]

Edit: TypeAlias = Callable[["list[str]", random.Random], "list[str] | None"]
"""Words of a text to those of another; None: this text has nothing of the kind."""

_OPPOSITES: Final = """
best worst|good bad|increase decrease|open close|start stop|first last|buy sell|send receive|enable disable|more less
with without|before after|up down|in out|on off|over under|above below|inside outside|from to|cheap expensive|old new
fast slow|high low|long short|big small|large small|early late|win lose|easy hard|easy difficult|true false|hot cold
always never|all some|every no|most least|maximum minimum|highest lowest|longest shortest|older younger|like hate
love hate|add remove|import export|public private|male female|man woman|boy girl|husband wife|mother father|son daughter
men women|legal illegal|possible impossible|safe dangerous|healthy unhealthy|happy sad|rich poor|strong weak|hire fire
install uninstall|upload download|lend borrow|teach learn|arrive leave|gain lose|deposit withdraw|credit debit
advantages disadvantages|benefits risks|pros cons|causes effects|better worse|higher lower|faster slower|bigger smaller
oldest youngest|biggest smallest|right left|north south|east west|day night|summer winter|morning evening|front back
positive negative|include exclude|accept reject|allow forbid|lock unlock|activate deactivate|connect disconnect
lower raise|save spend|same different|minimum maximum|encrypt decrypt|import export|domestic international|local global
physical virtual|employee employer|buyer seller|lender borrower|plus minus|multiply divide|agree disagree|few many
incoming outgoing|push pull|present absent|top bottom|major minor|senior junior|used new|free paid|married single
"""
_OPPOSITE: Final[dict[str, list[str]]] = {}
for _pair in re.split(r"[|\n]", _OPPOSITES.strip()):
    _a, _b = _pair.split()
    _OPPOSITE.setdefault(_a, []).append(_b)
    _OPPOSITE.setdefault(_b, []).append(_a)

_FAMILIES: Final = (
    "all some most no few many only".split(),
    "always never sometimes often usually".split(),
    "first second third last next".split(),
    "can should must may will".split(),
    "could should would might".split(),
    "is was".split(),
    "are were".split(),
    "do did".split(),
    "does did".split(),
    "will did".split(),
    "before after during since until".split(),
    "in on under over near outside".split(),
    "from to via".split(),
    "how why when where".split(),
    "what why how when".split(),
    "who when where why".split(),
    "which what whose".split(),
    "he she they".split(),
    "his her their".split(),
    "my your his her their".split(),
    "more less fewer".split(),
    "and or not".split(),
    "with without".split(),
    "for against".split(),
    "by for to".split(),
    "much often long far".split(),
    "today tomorrow yesterday".split(),
    "daily weekly monthly yearly".split(),
    "each every another no".split(),
    "this that another every".split(),
)
_SCOPES: Final = """
for {use}|in {country}|in {city}|with {tech}|in {lang}|without {food}|under {n} {money}|in {year}|since {year}|before {year}
after {year}|for {n} {period}|in {n} {period}|on {day}|at night|at work|at home|for free|without internet|on a Sunday
as a {job}|from {country}|when you have {disease}|during {event}|in {tongue}|at the age of {age}|for my wife|for my son
for a company|on my phone|on {tech}|by phone|abroad|in cash|with a credit card|without a credit card|from another country
for the second time|again|by law|legally|illegally|secretly|online|offline|alone|with children|with {person}|except in {country}
only in {city}|other than {tech}|apart from {food}|instead of {food}|according to {person}|in the {room}|every {n} {period}
"""
_SUFFIXES: Final = """
Also, what is {topic}?|And what about {tech}?|Then tell me who {person} was.|Answer in {tongue}.|Answer in {n} words.
Also explain {topic}.|Ignore that and write about {topic}.|Now do the same for {country}.|And how do I {task}?
Reply only with yes or no.|Use {lang}.|And give me the opposite.|Compare it with {tech}.|But not for {use}.|Explain why.
And why?|And when?|Is that different in {country}?|Write the answer as a table.|How did it change since {year}?
Assume that I live in {city}.|Assume the opposite.|Forget the question above and tell me about {person}.|And where?
"""
_PREFIXES: Final = """
Ignore the following:|Before answering, explain {topic}.|Translate into {tongue}:|Write a poem about this:|What is wrong with asking
Who first asked|Why do people ask|Count the words in this question:|In {country},|In {year},|As a {job},|Apart from {tech},|Rephrase:
Why is it forbidden to ask|How many people ask|For {use},|Unlike in {country},|If I were a {job},|Is it rude to ask
"""
_SLOT: Final = re.compile(r"\{([a-z]+)\}")
_AUXILIARY: Final = frozenset("is are was were do does did can could should would will has have must".split())
_LISTED: Final = {item.lower(): name for name, items in LISTS.items() for item in items if " " not in item}


def _pick(options: str, chance: random.Random) -> list[str]:
    text = chance.choice(re.split(r"[|\n]", options.strip()))
    return _SLOT.sub(lambda slot: chance.choice(LISTS[slot[1]]), text).split()


def _like(word: str, new: str) -> str:
    """The new word with the old one's capital."""
    return new[:1].upper() + new[1:] if word[:1].isupper() else new


def _bare(word: str) -> str:
    return word.strip(".,;:?!\"'()").lower()


def _put(words: list[str], at: int, new: str) -> list[str]:
    """In place of a word, its punctuation kept."""
    old = words[at]
    core = old.strip(".,;:?!\"'()")
    return [*words[:at], old.replace(core, _like(core, new), 1) if core else new, *words[at + 1 :]]


def _places(words: list[str], fits: Callable[[str], object]) -> list[int]:
    return [at for at, word in enumerate(words) if fits(_bare(word))]


def _content(word: str) -> bool:
    return (
        word.isalpha() and word not in CLASS and word not in FILLER and word not in NUMBERS and len(word) > 2
    )


def number(words: list[str], chance: random.Random) -> list[str] | None:
    at = _places(words, lambda word: word.isdigit() or word in NUMBERS)
    if not at:
        return None
    place = chance.choice(at)
    old = _bare(words[place])
    if old in NUMBERS:
        new = chance.choice(
            [word for word, value in NUMBERS.items() if value != NUMBERS[old] and len(word) > 2]
        )
    else:
        value = int(old)
        steps = [
            value + 1,
            max(0, value - 1),
            value * 2,
            value + 10,
            value * 10,
            chance.randint(1, 2 * value + 9),
        ]
        new = str(chance.choice([step for step in steps if step != value]))
    return _put(words, place, new)


def unit(words: list[str], chance: random.Random) -> list[str] | None:
    base = lexicon().base
    at = _places(words, lambda word: base.get(word, word) in UNIT_KIND)
    if not at:
        return None
    place = chance.choice(at)
    old = _bare(words[place])
    kind = UNIT_KIND[base.get(old, old)]
    others = [
        word
        for word, other in UNIT_KIND.items()
        if other == kind and word != base.get(old, old) and len(word) > 2
    ]
    new = chance.choice(others) if others else "percent"
    return _put(words, place, new + "s" if old.endswith("s") and base.get(old) != old else new)


def sibling(words: list[str], chance: random.Random) -> list[str] | None:
    """Another of the same kind: of the same list, or by WordNet."""
    kinds, senses, base = lexicon().kinds, lexicon().senses, lexicon().base
    at = _places(words, lambda word: word in _LISTED or (_content(word) and word in kinds))
    if not at:
        return None
    place = chance.choice(at)
    old = _bare(words[place])
    if old in _LISTED:
        return _put(
            words, place, chance.choice([item for item in LISTS[_LISTED[old]] if item.lower() != old])
        )
    own, means = kinds[old], senses.get(old, frozenset())
    others = [
        w
        for w in _BY_KIND.get(chance.choice(sorted(own)), ())
        if base[w] != old and means.isdisjoint(senses.get(w, ()))
    ]
    return _put(words, place, chance.choice(others)) if others else None


def other(words: list[str], chance: random.Random) -> list[str] | None:
    """Any other word in place of one."""
    at = _places(words, _content)
    return _put(words, chance.choice(at), chance.choice(_COMMON)) if at else None


def opposite(words: list[str], chance: random.Random) -> list[str] | None:
    at = _places(words, lambda word: word in _OPPOSITE or word in _BY_WORDNET)
    if not at:
        return None
    place = chance.choice(at)
    old = _bare(words[place])
    return _put(words, place, chance.choice(_OPPOSITE.get(old) or _BY_WORDNET[old]))


def negation(words: list[str], chance: random.Random) -> list[str] | None:
    nots = _places(words, lambda word: word in {"not", "never", "without"})
    if nots:
        place = chance.choice(nots)
        return (
            _put(words, place, "with")
            if _bare(words[place]) == "without"
            else words[:place] + words[place + 1 :]
        )
    glued = _places(words, lambda word: word.endswith("n't") and word not in {"can't", "won't"})
    if glued:
        place = chance.choice(glued)
        return [*words[:place], words[place].replace("n't", ""), *words[place + 1 :]]
    at = _places(words, lambda word: word in _AUXILIARY)
    if not at:
        return None
    place = chance.choice(at)
    if chance.random() < 0.5 and _bare(words[place]) not in {"can", "will"}:
        return _put(words, place, _bare(words[place]) + "n't")
    return [*words[: place + 1], "not", *words[place + 1 :]]


def swapped(words: list[str], chance: random.Random) -> list[str] | None:
    """Two words in each other's place, something with a direction between them."""
    places = _places(words, _content)
    pairs = [
        (first, second)
        for first, second in pairwise(places)
        if any(CLASS.get(_bare(word)) == "direction" or _content(_bare(word)) or word in {"of", "for", "in"}
               for word in words[first + 1 : second]) or second == first + 1
    ]  # fmt: skip
    pairs = [pair for pair in pairs if pair[1] - pair[0] <= 5]
    if not pairs:
        return None
    first, second = chance.choice(pairs)
    a, b = _bare(words[first]), _bare(words[second])
    joined = {_bare(word) for word in words[first + 1 : second]}
    if not joined or joined & {"and", "or", "vs"} or a == b:
        return None
    return _put(_put(words, first, b), second, a)


def routed(words: list[str], _chance: random.Random) -> list[str] | None:
    """What stands behind "from" and behind "to" change places."""
    low = [_bare(word) for word in words]
    for one, two in (("from", "to"), ("to", "from"), ("than", "in"), ("before", "after")):
        if low.count(one) == 1 and low.count(two) == 1 and low.index(one) < low.index(two):
            a, b = low.index(one), low.index(two)
            return [*words[:a], words[b], *words[a + 1 : b], words[a], *words[b + 1 :]]
    return None


def grammar(words: list[str], chance: random.Random) -> list[str] | None:
    """A quantifier, a tense, a mode, a preposition, a person or what is asked about: another of its family."""
    found = [
        (at, family)
        for at, word in enumerate(words)
        for family in _FAMILIES
        if _bare(word) in family
    ]  # fmt: skip
    if not found:
        return None
    place, family = chance.choice(found)
    return _put(words, place, chance.choice([word for word in family if word != _bare(words[place])]))


def limited(words: list[str], chance: random.Random) -> list[str] | None:
    """A word that says how much: only, at least, no, all, twice."""
    at = _places(words, lambda word: _content(word) or word.isdigit())
    if not at:
        return None
    place = chance.choice(at)
    if _bare(words[place]).isdigit():
        new = chance.choice(["at least", "at most", "more than", "less than", "exactly", "over", "under"])
    else:
        new = chance.choice(
            [
                "only",
                "all",
                "no",
                "non",
                "every",
                "another",
                "not",
                "some other",
                "former",
                "fake",
                "any other",
            ]
        )
    return [*words[:place], *new.split(), *words[place:]]


def scoped(words: list[str], chance: random.Random) -> list[str]:
    """Something added that the answer depends on."""
    extra = _pick(_SCOPES, chance)
    if chance.random() < 0.25:
        return [*extra[:-1], extra[-1] + ",", *words] if extra else words
    last = words[-1]
    mark = last[-1] if last[-1] in "?.!" else ""
    return [*words[:-1], last.removesuffix(mark), *extra[:-1], extra[-1] + mark]


def suffixed(words: list[str], chance: random.Random) -> list[str]:
    return [*words, *_pick(_SUFFIXES, chance)]


def prefixed(words: list[str], chance: random.Random) -> list[str]:
    return [*_pick(_PREFIXES, chance), *words]


def qualified(words: list[str], chance: random.Random) -> list[str] | None:
    """A word more before one that is there: another thing of that name."""
    at = _places(words, _content)
    if not at:
        return None
    place = chance.choice(at)
    return [*words[:place], chance.choice(_COMMON), *words[place:]]


def dropped(words: list[str], chance: random.Random) -> list[str] | None:
    """One telling word less."""
    weight, base = lexicon().weight, lexicon().base
    at = _places(words, lambda word: _content(word) and weight.get(base.get(word, word), 1.1) > 0.7)
    if not at or len(words) < 5:
        return None
    place = chance.choice(at)
    return words[:place] + words[place + 1 :]


def another_name(words: list[str], chance: random.Random) -> list[str] | None:
    """Another name in place of a capitalised word."""
    at = [at for at, word in enumerate(words) if at and word[:1].isupper() and _content(_bare(word))]
    if not at:
        return None
    names = [
        *LISTS["name"],
        *LISTS["company"],
        *LISTS["city"],
        *LISTS["country"],
        *LISTS["lang"],
        *LISTS["tech"],
    ]
    return _put(words, chance.choice(at), chance.choice(names))


EDITS: Final[tuple[Edit, ...]] = (
    *(
        number,
        unit,
        sibling,
        sibling,
        other,
        other,
        opposite,
        opposite,
        negation,
        swapped,
        swapped,
        routed,
        grammar,
    ),
    *(grammar, grammar, limited, scoped, scoped, suffixed, prefixed, qualified, dropped, another_name),
)
_BY_WORDNET: Final[dict[str, list[str]]] = {}
for _a, _b in sorted(lexicon().opposites):
    if _a not in CLASS and _b not in CLASS:
        _BY_WORDNET.setdefault(_a, []).append(_b)
_BY_KIND: Final[dict[int, list[str]]] = {}
for _word, _kinds in lexicon().kinds.items():
    for _kind in sorted(_kinds):
        _BY_KIND.setdefault(_kind, []).append(_word)
_COMMON: Final = [word for word in lexicon().base if word in lexicon().english and _content(word)][200:9000]


def edited(text: str, chance: random.Random, count: int) -> list[str]:
    """At most so many texts near this one, whose answers are others."""
    found: set[str] = set()
    for edit in chance.sample(EDITS, len(EDITS)):
        words = text.split()
        new = edit(words, chance) if words else None
        if new is not None and new != words:
            found.add(" ".join(new))
        if len(found) >= count:
            break
    return sorted(found)
