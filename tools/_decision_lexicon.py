"""The words `asynccache.decision` knows: the bundled model's vocabulary, explained by WordNet.

WordNet is read in its own file format from a folder (Debian: ``wordnet-base``). Whole words of the
vocabulary alone are kept; a word's rank in it stands in for how rare the word is.
"""

# ruff: noqa: FURB166, PLR2004 - a file format of numbers at fixed places

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

POS: Final = ("noun", "verb", "adj", "adv")
FIRST_WORD: Final = 1996  # the vocabulary's first whole word ("the"); before it come letters and signs
SENSES: Final = 3  # per part of speech: later senses are rare, and would make everything a synonym
KINDS: Final = 2  # senses whose kinds are kept
ENDINGS: Final = {
    "noun": (
        ("ses", "s"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("ies", "y"),
        ("s", ""),
    ),
    "verb": (
        *(("ies", "y"), ("es", "e"), ("es", ""), ("s", ""), ("ed", "e"), ("ed", ""), ("ing", "e")),
        ("ing", ""),
    ),
}

Sense = tuple[str, int]


@dataclass
class WordNet:
    """What is needed of it."""

    senses: dict[tuple[str, str], list[Sense]] = field(default_factory=dict)  # most frequent first
    counts: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    above: dict[Sense, list[Sense]] = field(default_factory=dict)
    members: dict[Sense, list[str]] = field(default_factory=dict)
    opposites: set[tuple[str, str]] = field(default_factory=set)
    glosses: dict[Sense, str] = field(default_factory=dict)
    irregular: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> WordNet:
        net = cls()
        for pos in POS:
            net._read_data(pos, folder / f"data.{pos}")
            net._read_index(pos, folder / f"index.{pos}")
            if pos in ENDINGS:
                for line in (folder / f"{pos}.exc").read_text().splitlines():
                    form, *bases = line.split()
                    net.irregular[pos, form] = bases
        for line in (folder / "cntlist.rev").read_text().splitlines():
            key, _, count = line.split()
            word, _, rest = key.partition("%")
            pos = POS[{1: 0, 2: 1, 3: 2, 4: 3, 5: 2}[int(rest[0])]]
            net.counts[pos, word] += int(count)
        return net

    def _read_index(self, pos: str, path: Path) -> None:
        for line in path.read_text().splitlines():
            if not line.startswith(" "):
                parts = line.split()
                first = 4 + int(parts[3]) + 2
                self.senses[pos, parts[0]] = [(pos, int(offset)) for offset in parts[first:]]

    def _read_data(self, pos: str, path: Path) -> None:
        letters = {"n": "noun", "v": "verb", "a": "adj", "s": "adj", "r": "adv"}
        targets: list[tuple[str, Sense, int]] = []
        for line in path.read_text().splitlines():
            if line.startswith(" "):
                continue
            head, _, gloss = line.partition("|")
            parts = head.split()
            sense, count = (pos, int(parts[0])), int(parts[3], 16)
            self.members[sense] = [word.split("(")[0] for word in parts[4 : 4 + 2 * count : 2]]
            self.glosses[sense] = gloss.strip()
            at = 5 + 2 * count
            above: list[Sense] = []
            for number in range(int(parts[4 + 2 * count])):
                sign, offset, letter, link = parts[at + 4 * number : at + 4 * number + 4]
                target = (letters[letter], int(offset))
                if sign in {"@", "@i", "&"}:
                    above.append(target)
                elif sign == "!":
                    word = self.members[sense][int(link[:2], 16) - 1]
                    targets.append((word.lower(), target, int(link[2:], 16) - 1))
            self.above[sense] = above
        self.opposites |= {(word, self.members[sense][at].lower()) for word, sense, at in targets}

    @cached_property
    def opposed(self) -> set[str]:
        return {word for word, _ in self.opposites}

    def base(self, word: str) -> str:
        """The form the word is compared in; the word itself where it is more usual as it stands."""
        own = max((self.counts[pos, word] for pos in POS if (pos, word) in self.senses), default=-1)
        if word in self.opposed and not word.endswith(("ed", "ing")):
            own += 1_000_000  # "left" and "right" are no forms of "leave" and "right"
        best, most = word, own
        for pos, endings in ENDINGS.items():
            forms = list(self.irregular.get((pos, word), ()))
            if not forms:
                stems = [word.removesuffix(end) + new for end, new in endings if word.endswith(end)]
                stems += [stem[:-1] for stem in stems if len(stem) > 3 and stem[-1] == stem[-2]]
                forms = [stem for stem in stems if (pos, stem) in self.senses and len(stem) > 1]
            for form in forms:
                if (count := self.counts[pos, form]) > most and form != word:
                    best, most = form, count
        return best

    def meanings(self, word: str) -> list[Sense]:
        return [sense for pos in POS for sense in self.senses.get((pos, word), [])[:SENSES]]

    def kinds(self, word: str) -> set[Sense]:
        """What it is one of; two steps up, so that the countries of two continents are both countries."""
        first = [sense for pos in POS for sense in self.senses.get((pos, word), [])[:KINDS]]
        parents = {parent for sense in first for parent in self.above[sense]}
        return parents | {parent for sense in parents if sense[0] == "noun" for parent in self.above[sense]}


def vocabulary(tokenizer: Path) -> list[str]:
    """Whole words of the model's vocabulary, frequent ones first."""
    ranks: dict[str, int] = json.loads(tokenizer.read_text())["model"]["vocab"]
    ordered = sorted(ranks, key=ranks.__getitem__)[FIRST_WORD:]
    return [word for word in ordered if word.isalpha() and not word.startswith("##")]


def lexicon(net: WordNet, words: list[str]) -> dict[str, NDArray[np.generic]]:
    """Arrays for the weights file.

    ``words``: UTF-8, one a line. ``base``: index of each word's base form. ``english``: whether WordNet has
    it. ``senses`` and ``kinds``: numbers, those of word i at ``x[x_ends[i - 1]:x_ends[i]]``. ``opposites``:
    pairs of words.
    """
    bases = [net.base(word) for word in words]
    every = list(dict.fromkeys([*words, *bases]))
    index = {word: at for at, word in enumerate(every)}
    numbers: dict[Sense, int] = {}
    flat: dict[str, list[int]] = {"senses": [], "kinds": []}
    ends: dict[str, list[int]] = {"senses": [], "kinds": []}
    own = set(bases)
    meanings = {word: set(net.meanings(word)) if word in own else set() for word in every}
    shared: dict[Sense, int] = defaultdict(int)
    kinds = {word: net.kinds(word) if word in own else set() for word in every}
    for word in every:
        for sense in meanings[word]:
            shared[sense] += 1
        for kind in kinds[word]:
            shared[kind] += 1
    for word in every:
        for name, held in (("senses", meanings[word]), ("kinds", kinds[word])):
            kept = sorted(sense for sense in held if shared[sense] > 1)  # nothing to share otherwise
            flat[name] += [numbers.setdefault(sense, len(numbers)) for sense in kept]
            ends[name].append(len(flat[name]))
    pairs = sorted({(index[a], index[b]) for a, b in net.opposites if a in index and b in index and a < b})
    english = [any((pos, word) in net.senses for pos in POS) for word in every]
    base = {word: index[form] for word, form in zip(words, bases, strict=True)}
    return {
        "words": np.frombuffer("\n".join(every).encode(), np.uint8),
        "base": np.array([base.get(word, at) for at, word in enumerate(every)], np.uint16),
        "english": np.packbits(
            np.array(english) | np.array([base.get(w, at) != at for at, w in enumerate(every)])
        ),
        "senses": np.array(flat["senses"], np.uint16),
        "senses_ends": np.array(ends["senses"], np.uint32),
        "kinds": np.array(flat["kinds"], np.uint16),
        "kinds_ends": np.array(ends["kinds"], np.uint32),
        "opposites": np.array(pairs, np.uint16),
        "count": np.array([len(words), len(numbers)]),
    }
