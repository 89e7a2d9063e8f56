"""Harmless changes to a question: its answer stays the same."""

# ruff: noqa: E501, PLR2004, SIM905 - word lists read best as words, and shares of a training set have no names

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["reworded"]

Reword: TypeAlias = Callable[[str, random.Random], "str | None"]

_STEMS: Final = (
    """how do i|how can i|how to|what is the best way to|what's the best way to|how should i|how could i|how do you
    |what is a good way to|what should i do to|how would i|how does one|what do i have to do to|tell me how to
    |what are the steps to|how can one|i want to know how to|show me how to|can you tell me how to|how do we|how can we
    |explain how to|i need to know how to|what can i do to|what is the easiest way to|what are some ways to""",
    "can i|is it possible to|am i able to|may i|am i allowed to|could i|is there a way to|is it possible for me to|can one",
    "why is|why's|how come|what is the reason why|for what reason is",
    "what is|what's|tell me what is|do you know what is|could you tell me what is|whats|what exactly is",
    "what are|what're|tell me what are|could you tell me what are|name|list",
    "who is|who's|tell me who is|do you know who is",
    "where can i find|where do i find|where do i get|where can i get|where could i find|in which place can i find",
    "i want to|i'd like to|i would like to|i need to|i wish to|please let me|can you help me to|i have to|help me",
    "how much does|what does|how much money does",
    "which is the best|what is the best|what's the best|which one is the best",
    "which are the best|what are the best|what are the top|what are some of the best|which are the top",
    "should i|would you advise me to|is it a good idea to|is it advisable to|do you think i should",
    "do i need|do i have to have|am i required to have|is it necessary to have",
    "do i have to|must i|am i required to|is it necessary to|do i need to",
    "tell me about|what do you know about|give me information about|describe",
    "how long does it take to|how much time does it take to|how much time do i need to|what time does it take to",
    "does|is it true that|is it the case that",
)  # fmt: skip
_VARIANTS: Final = [[part.strip() for part in family.split("|")] for family in _STEMS]

_SYNONYMS: Final = """
buy purchase|begin start|big large|quick fast|make create|fix repair|delete remove|show display|get obtain|receive get
job position|picture image|photo picture|movie film|kid child|kids children|phone telephone|car automobile|smart clever
error mistake|help assist|near close to|near nearby|choose select|choose pick|happen occur|end finish|improve enhance
important significant|difficult hard|simple easy|sick ill|salary pay|cost price|trip journey|company firm|city town
method way|problem issue|reason cause|result outcome|benefits advantages|drawbacks disadvantages|allow permit|need require
use utilize|explain describe|speak talk|learn study|often frequently|correct right|wrong incorrect|many lots of
money funds|cash money|withdraw take out|cancel call off|find locate|verify confirm|verify check|update change|modify change
transfer send|top-up top up|increase raise|decrease reduce|lower reduce|terrible awful|great excellent|lady woman
doctor physician|lawyer attorney|teacher instructor|holiday vacation|flat apartment|lift elevator|petrol gas|autumn fall
film movie|song track|tune song|reserve book|restaurant eatery|cheap inexpensive|expensive costly|wealthy rich|angry mad
occur happen|attempt try|stop quit|answer reply|ask inquire|shut close|gift present|rubbish garbage|mobile phone cell phone
laptop notebook|lots many|people persons|folks people|weather forecast|currently now|right now now|soon shortly|approximately about
charge fee|charged billed|statement bill|incorrect wrong|missing lost|declined rejected|failed unsuccessful|pending outstanding
account profile|card bank card|website site|web site website|app application|program application|user customer|password passcode
vs versus|approx approximately|info information|pic picture|tv television|fridge refrigerator|bike bicycle|exam test|uni university
"""
_SYNONYM: Final[dict[str, list[str]]] = {}
for _pair in re.split(r"[|\n]", _SYNONYMS.strip()):
    _a, _, _b = _pair.partition(" ")
    _SYNONYM.setdefault(_a, []).append(_b)
    if " " not in _b:
        _SYNONYM.setdefault(_b, []).append(_a)

_CONTRACTIONS: Final = (
    ("what is", "what's"), ("do not", "don't"), ("does not", "doesn't"), ("is not", "isn't"), ("cannot", "can't"),
    ("i am", "i'm"), ("it is", "it's"), ("where is", "where's"), ("who is", "who's"), ("how is", "how's"),
    ("did not", "didn't"), ("i have", "i've"), ("i would", "i'd"), ("that is", "that's"), ("will not", "won't"),
    ("are not", "aren't"), ("should not", "shouldn't"), ("you are", "you're"), ("they are", "they're"),
    ("what's", "whats"), ("don't", "dont"), ("i'm", "im"), ("can't", "cant"), ("doesn't", "doesnt"), ("isn't", "isnt"),
)  # fmt: skip
_OPENINGS: Final = (
    "hi, |hello, |hey, |please tell me, |can you tell me: |could you help me? |i have a question. |quick question: "
    "|just wondering, |i'd like to know: |please, |hello! |good morning, |hey there, |excuse me, |so, |ok, |um, "
    "|do you know |i was wondering |may i ask, |tell me, |i wonder, |sorry to bother you, |one question: |dear team, "
).split("|")
_CLOSINGS: Final = (
    " please| thanks| thank you| please?| thanks!| thank you in advance| pls| many thanks| please help| thx"
    "| any ideas?| can you help?| i'm curious| please let me know| help me please| thanks a lot"
).split("|")
_FILLERS: Final = "really actually just basically simply exactly even also currently".split()


def restemmed(text: str, chance: random.Random) -> str | None:
    """Another way to begin the question."""
    low = text.lower()
    fits = [(stem, family) for family in _VARIANTS for stem in family if low.startswith(stem + " ")]
    if not fits:
        return None
    stem, family = max(fits, key=lambda fit: len(fit[0]))
    new = chance.choice([other for other in family if other != stem])
    rest = text[len(stem) :]
    if new.startswith(("tell", "show", "i ", "i'", "explain", "please", "help")):
        rest = rest.rstrip("?")
    return new[0].upper() + new[1:] + rest


def synonym(text: str, chance: random.Random) -> str | None:
    words = text.split()
    at = [place for place, word in enumerate(words) if word.strip(".,?!").lower() in _SYNONYM]
    if not at:
        return None
    place = chance.choice(at)
    core = words[place].strip(".,?!")
    words[place] = words[place].replace(core, chance.choice(_SYNONYM[core.lower()]), 1)
    return " ".join(words)


def contracted(text: str, chance: random.Random) -> str | None:
    low = f" {text.lower()} "
    fits = [(a, b) for pair in _CONTRACTIONS for a, b in (pair, pair[::-1]) if f" {a} " in low]
    if not fits:
        return None
    old, new = chance.choice(fits)
    at = low.index(f" {old} ")
    changed = text[:at] + new + text[at + len(old) :]
    return changed[0].upper() + changed[1:] if text[0].isupper() else changed


def polite(text: str, chance: random.Random) -> str:
    if chance.random() < 0.5:
        return chance.choice(_OPENINGS).capitalize() + text[0].lower() + text[1:]
    return text.rstrip("?.!") + chance.choice(_CLOSINGS)


def mistyped(text: str, chance: random.Random) -> str | None:
    words = text.split()
    at = [place for place, word in enumerate(words) if len(word) > 4 and word.isalpha() and word.islower()]
    if not at:
        return None
    place, word = (chosen := chance.choice(at)), words[chosen]
    cut = chance.randrange(1, len(word) - 1)
    words[place] = chance.choice(
        [
            word[:cut] + word[cut + 1 :],
            word[:cut] + word[cut] + word[cut:],
            word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :],
            word[:cut] + chance.choice("etaoinshr") + word[cut + 1 :],
        ]
    )
    return " ".join(words)


def respelt(text: str, chance: random.Random) -> str:
    return chance.choice(
        [
            text.lower(), text.rstrip("?.!"), text.lower().rstrip("?.!"), text + "?", text.rstrip("?.!") + "??",
            text.upper() if chance.random() < 0.2 else text.lower(), text.replace(",", ""), text.rstrip("?") + " ?",
        ]
    )  # fmt: skip


def filled(text: str, chance: random.Random) -> str | None:
    words = text.split()
    if len(words) < 4:
        return None
    place = chance.randrange(2, len(words))
    return " ".join([*words[:place], chance.choice(_FILLERS[:6]), *words[place:]])


def moved(text: str, _chance: random.Random) -> str | None:
    """What stands at the end behind a preposition, at the beginning instead."""
    found = re.fullmatch(r"(.{12,}?) ((?:in|on|for|with|at|using) (?:\w+ ?){1,3})[?.]?", text)
    return None if found is None else f"{found[2].capitalize()}, {found[1][0].lower()}{found[1][1:]}?"


REWORDS: Final[tuple[Reword, ...]] = (
    *(
        restemmed,
        restemmed,
        restemmed,
        synonym,
        synonym,
        contracted,
        polite,
        mistyped,
        respelt,
        filled,
        moved,
    ),
)


def reworded(text: str, chance: random.Random, steps: int = 2) -> str:
    """The text after some harmless changes; the text itself where none applies."""
    for reword in chance.sample(REWORDS, len(REWORDS))[: 2 * steps + 2]:
        new = reword(text, chance)
        if new is not None and new.strip() and new != text:
            text, steps = new, steps - 1
        if not steps:
            break
    return text
