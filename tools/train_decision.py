"""Train the weights of the semantic decision: `asynccache/decision/weights`.

Learnt from are the BANKING77 (CC BY 4.0) and SNIPS (CC0) questions of a stream file, questions made up from
`_decision_topics.py`, and changes to all of them; rows of other sources are left alone. Needs scikit-learn
and WordNet's files (Debian: ``wordnet-base``). Some ten minutes, half of them for the vectors.
"""

# ruff: noqa: S311 - training needs no cryptographic chance

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
from collections.abc import Callable, Sequence
from hashlib import md5
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from _decision_fit import Pairs, fit
from _decision_known import SERVED, Asked, Seen, by, by_sum, fit_calibration, made, walked
from _decision_lexicon import WordNet, lexicon, vocabulary
from _decision_material import Pair, Text, generated, mined, together
from _decision_topics import questions
from numpy.typing import NDArray

import asynccache
from asynccache import TextRefused
from asynccache.decision._features import NAMES, features
from asynccache.decision.pair_score import Weights, read, read_calibration
from asynccache.decision.prepared import prepare
from asynccache.embedders import FastEmbedEmbedder

PACKAGE: Final = Path(asynccache.__file__).parent
WEIGHTS: Final = PACKAGE / "decision" / "weights"
TOKENIZER: Final = PACKAGE / "embedders" / "models" / "all-MiniLM-L6-v2" / "tokenizer.json"
FOLDS: Final = 5

# How much each kind of pair counts. Intents of a bank are so broad that words do not tell them apart: that
# is for the labels nearby, and little is learnt from them. Rewordings are many and alike.
WEIGHT: Final = {
    "bank": 0.05,
    "bank-same": 0.05,
    "bank-edited": 0.5,
    "bank-reworded": 0.3,
    "snips": 2.0,
    "snips-edited": 0.3,
    "snips-reworded": 0.05,
    "own-reworded": 0.35,
}


class Material:
    """All texts, their vectors, and labelled pairs of them."""

    def __init__(self, vectors: dict[str, NDArray[np.float32]]) -> None:
        self.texts: Final[list[Text]] = []
        self.pairs: Final[list[Pair]] = []
        self._vectors: Final = vectors
        self.space = b""

    def embed(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        new = list(dict.fromkeys(text.text for text in texts if text.text not in self._vectors))
        self._vectors.update(zip(new, asyncio.run(self._embedded(new)), strict=True))
        return np.stack([self._vectors[text.text] for text in texts])

    async def _embedded(self, texts: list[str]) -> list[NDArray[np.float32]]:
        embedder = FastEmbedEmbedder()
        found: list[NDArray[np.float32]] = []
        async with embedder.lifespan():
            await embedder.embed(["which model is this"])
            self.space = embedder.fingerprint
            for start in range(0, len(texts), 256):
                some = texts[start : start + 256]
                try:
                    found += list(await embedder.embed(some))
                except TextRefused:
                    for text in some:
                        try:
                            found += list(await embedder.embed([text]))
                        except TextRefused:
                            found.append(np.zeros(embedder.dim, np.float32))
        return found

    def add(
        self, texts: Sequence[Text], source: str, chance: random.Random, *, same: int, changed: int
    ) -> None:
        """Pairs of neighbours, so many of the same answer, and changes of so many texts."""
        base = len(self.texts)
        found = mined(texts, self.embed(texts), source)
        if same:
            found += together(texts, chance, same, f"{source}-same")
        chosen = chance.sample(range(len(texts)), min(changed, len(texts)))
        new, pairs = generated([texts[at] for at in chosen], chance, source)
        places = [*chosen, *range(len(texts), len(texts) + len(new))]
        found += [pair._replace(a=places[pair.a], b=places[pair.b]) for pair in pairs]
        self.texts.extend(texts)
        self.texts.extend(new)
        self.pairs.extend(pair._replace(a=pair.a + base, b=pair.b + base) for pair in found)

    def rows(self) -> Pairs:
        """Features of all pairs; pairs with a text that has no vector are dropped first."""
        vectors = self.embed(self.texts)
        known = np.asarray(vectors.any(axis=1))
        self.pairs[:] = [pair for pair in self.pairs if known[pair.a] and known[pair.b]]
        prepared = [prepare(text.text) for text in self.texts]
        rows = [
            features(prepared[pair.a], prepared[pair.b], float(vectors[pair.a] @ vectors[pair.b]))
            for pair in self.pairs
        ]
        found = np.array(rows, np.float32)
        weight = np.array([WEIGHT.get(pair.source, 1.0) for pair in self.pairs])
        # A rewording whose words cannot be paired off teaches that a word may be put in another's place.
        changed = np.array([pair.source.endswith("-reworded") for pair in self.pairs])
        weight[changed & (found[:, NAMES.index("count_least")] > 0)] = 0
        return Pairs(found, np.array([pair.same for pair in self.pairs]), weight)


def fold(answer: str) -> int:
    """Which part of a class's rows all belong to."""
    name = answer.split(" edited ", maxsplit=1)[0]
    return int(md5(name.encode(), usedforsecurity=False).hexdigest(), 16) % FOLDS


class Blind:
    """Scores of pairs by weights that were trained without the classes of either text.

    Args:
        pairs: all that is learnt from.
        first, second: shape (n,), the folds of both texts of each pair.
        head: what every weights file begins with.
    """

    def __init__(
        self, pairs: Pairs, first: NDArray[np.int64], second: NDArray[np.int64], head: dict[str, Any]
    ) -> None:
        self._weights: Final[dict[tuple[int, int], Weights]] = {}
        for one, two in combinations_with_replacement(range(FOLDS), 2):
            apart = ~np.isin(first, (one, two)) & ~np.isin(second, (one, two))
            self._weights[one, two] = read(head | fit(pairs[apart], "apart"), "apart")

    def of(self, stream: Asked) -> Callable[[int, Sequence[int]], NDArray[np.float64]]:
        """The score of stored questions of a stream for one asked; each pair is computed once."""
        prepared = [prepare(text.text) for text in stream.texts]
        folds = [fold(text.answer) for text in stream.texts]
        known: dict[tuple[int, int], float] = {}

        def one(asked: int, stored: int) -> float:
            if (asked, stored) not in known:
                cosine = float(stream.vectors[asked] @ stream.vectors[stored])
                row = np.array([features(prepared[asked], prepared[stored], cosine)], dtype=np.float32)
                low, high = sorted((folds[asked], folds[stored]))
                known[asked, stored] = float(self._weights[low, high].of_rows(row)[0])
            return known[asked, stored]

        return lambda asked, stored: np.array([one(asked, at) for at in stored])


def calibrations(learnt: Material, pairs: Pairs, head: dict[str, Any], originals: set[str]) -> Calibrations:
    """What the calibration is learnt from, gathered on two walks: what is served changes what is found."""
    folds = np.array([fold(text.answer) for text in learnt.texts])
    first, second = folds[[pair.a for pair in learnt.pairs]], folds[[pair.b for pair in learnt.pairs]]
    vectors = dict(zip((text.text for text in learnt.texts), learnt.embed(learnt.texts), strict=True))
    stream = made(learnt.texts, originals, vectors)
    score = Blind(pairs, first, second, head).of(stream)
    seen = walked(stream, score, by_sum, SERVED[0])
    earlier = read_calibration(prefixed("earlier", fit_calibration(seen, stream)), "earlier")
    return Calibrations(stream, walked(stream, score, by(earlier), SERVED[1]))


class Calibrations(NamedTuple):
    """Of what there is to learn from, calibrations that know all or some classes."""

    stream: Asked
    seen: Seen

    def without(self, *folds: int) -> dict[str, Any]:
        """The arrays of one that knows no class of a bank in these folds.

        Two classes are seldomer both left than one is, so that of wrong candidates too few would be: those of
        two folds that are left count for those that went with one.
        """
        answers = [text.answer for text in self.stream.texts]
        of = np.array([-1 if answer.startswith("own:") else fold(answer) for answer in answers])
        asked, proposed = of[self.seen.asked], of[self.seen.proposed]
        left = FOLDS - len(set(folds))
        weight = np.where((asked >= 0) & (proposed >= 0) & (asked != proposed), (FOLDS - 1) / (left - 1), 1.0)
        weight[np.isin(asked, folds) | np.isin(proposed, folds)] = 0.0
        return fit_calibration(self.seen, self.stream, weight if folds else None)


def prefixed(part: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {f"{part}_{name}": value for name, value in arrays.items()}


def material(stream: Path, wordnet: Path, vectors: dict[str, NDArray[np.float32]]) -> Material:
    with gzip.open(stream, "rt") as held:
        rows = [json.loads(line) for line in held]
    chance = random.Random(7)
    net = WordNet.read(wordnet)
    bank = [Text(row["prompt"], row["cls"]) for row in rows if row["source"] == "banking77"]
    snips = [Text(row["prompt"], row["cls"]) for row in rows if row["source"] == "snips"]
    own = _mixed([Text(q.text, f"own:{q.answer}") for q in questions(net, chance, each=24)], chance)
    found = Material(vectors)
    found.add(bank, "bank", chance, same=6_000, changed=len(bank))
    found.add(snips, "snips", chance, same=0, changed=1_500)
    found.add(own, "own", chance, same=4_000, changed=5_000)
    tasks = [
        Text(q.text, f"own:{q.answer}")
        for q in questions(net, random.Random(11), each=110, having="sentence")
    ]
    chance = random.Random(12)
    found.add(_mixed(tasks, chance), "tmpl", chance, same=1_500, changed=400)
    return found


def _mixed(texts: list[Text], chance: random.Random) -> list[Text]:
    chance.shuffle(texts)
    return list({text.text: text for text in texts}.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stream", type=Path, help="JSON lines, gzip: source, prompt, cls")
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument(
        "--folds", type=Path, help="also write weights trained without each two folds of classes"
    )
    parser.add_argument("--vectors", type=Path, help="keep the texts' vectors here for the next run")
    parser.add_argument("--words", action="store_true", help="make the lexicon anew first, and nothing else")
    given = parser.parse_args()
    if given.words:
        found: dict[str, Any] = lexicon(WordNet.read(given.wordnet), vocabulary(TOKENIZER))
        np.savez_compressed(WEIGHTS / "words.npz", **found)
        return
    vectors: dict[str, NDArray[np.float32]] = {}
    if given.vectors is not None and given.vectors.exists():
        with np.load(given.vectors, allow_pickle=False) as held:
            texts = bytes(held["texts"]).decode().split("\0")
            vectors = dict(zip(texts, held["vectors"], strict=True))
    learnt = material(given.stream, given.wordnet, vectors)
    pairs = learnt.rows()
    if given.vectors is not None:
        kept = np.frombuffer("\0".join(vectors).encode(), np.uint8)
        np.savez(given.vectors, texts=kept, vectors=np.stack(list(vectors.values())))
    head: dict[str, Any] = {
        "features": np.frombuffer(" ".join(NAMES).encode(), np.uint8),
        "space": np.frombuffer(learnt.space, np.uint8),
    }
    print(f"{len(pairs.rows):,} pairs of {len(learnt.texts):,} texts")
    with gzip.open(given.stream, "rt") as held:
        originals = {json.loads(row)["prompt"] for row in held}
    known = calibrations(learnt, pairs, head, originals)
    print(f"{len(known.seen.asked):,} candidates of {len(known.stream.texts):,} questions asked")
    parts = {**fit(pairs, "bound"), **fit(pairs, "generic"), **prefixed("bound", known.without())}
    np.savez_compressed(WEIGHTS / "pairs.npz", **head, **parts)
    if given.folds is not None:
        own = np.array([text.answer.startswith("own:") for text in learnt.texts])
        folds = np.where(own, -1, [fold(text.answer) for text in learnt.texts])
        a = folds[[pair.a for pair in learnt.pairs]]
        b = folds[[pair.b for pair in learnt.pairs]]
        for one, two in combinations_with_replacement(range(FOLDS), 2):
            apart = ~np.isin(a, (one, two)) & ~np.isin(b, (one, two))
            name = f"without_{one}_{two}"
            head |= {**fit(pairs[apart], name), **prefixed(name, known.without(one, two))}
            print(f"without the classes of folds {one} and {two}")
        np.savez_compressed(given.folds, **head)


if __name__ == "__main__":
    main()
