"""How many questions made to look like a stored one are served its answer?

Two kinds, both searched for against the very embedder, until the cosine to a stored question is 0.95 or
more, so that every usual threshold serves them all:

- edits: one word of a stored question exchanged so that another answer is right, the exchange with the
  highest cosine taken;
- suffixes and prefixes: another request, with words before or after it that pull its vector towards a stored
  question (hill climbing, after CacheAttack, arXiv 2601.23088).

    python benchmarks/bench_attack.py [--save]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from _attack_edits import EDITS, PAYLOADS
from numpy.typing import NDArray

from asynccache import CachePipeline, Source
from asynccache.cli._workload import questions
from asynccache.embedders import FastEmbedEmbedder
from asynccache.testing import FakeJudge

COSINE: Final = 0.95
BOUNDS: Final = (0.01, 0.02, 0.05)
CLIMBS: Final = 60
"""Attempts to attack by suffix, each with another victim and payload."""
STEPS: Final = 50
TRIES: Final = 12
"""Changes tried at each step."""


class Attack(NamedTuple):
    """A question that is not the stored one, and looks like it to the embedder."""

    kind: str
    stored: str
    asked: str
    cosine: float


class Vectors:
    """Vectors of texts, each made once."""

    def __init__(self, embedder: FastEmbedEmbedder) -> None:
        self._embedder = embedder
        self._known: dict[str, NDArray[np.float32]] = {}

    async def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        for start in range(0, len(new), 64):
            some = new[start : start + 64]
            self._known.update(zip(some, await self._embedder.embed(some), strict=True))
        return np.stack([self._known[text] for text in texts])


async def edits(vectors: Vectors) -> list[Attack]:
    """Of each template, the two fillings whose questions are nearest to each other."""
    found = []
    for kind, template, fillings in EDITS:
        texts = [template.format(filling) for filling in fillings]
        rows = await vectors(texts)
        cosines = rows @ rows.T
        np.fill_diagonal(cosines, -1)
        order = np.dstack(np.unravel_index(np.argsort(-cosines, axis=None), cosines.shape))[0]
        for one, other in order[: 2 * 3 : 2].tolist():
            if cosines[one, other] >= COSINE:
                found.append(Attack(kind, texts[one], texts[other], float(cosines[one, other])))
    return found


async def climbed(
    vectors: Vectors, victims: Sequence[str], drawn: random.Random, climbs: int
) -> list[Attack]:
    """Payloads, and what has to stand around them."""
    found = []
    for _ in range(climbs):
        victim, payload = drawn.choice(victims), drawn.choice(PAYLOADS)
        target = (await vectors([victim]))[0]
        pool = victim.rstrip("?.!").split()
        after, around = bool(drawn.getrandbits(1)), list(pool)
        best = -1.0
        for _ in range(STEPS):
            tries = [_changed(around, pool, drawn) for _ in range(TRIES)]
            texts = [_joined(words, payload, after=after) for words in tries]
            cosines = (await vectors(texts)) @ target
            top = int(np.argmax(cosines))
            if cosines[top] > best:
                best, around = float(cosines[top]), tries[top]
        if best >= COSINE:
            text = _joined(around, payload, after=after)
            found.append(Attack("prefix" if after else "suffix", victim, text, best))
    return found


def _changed(words: Sequence[str], pool: Sequence[str], drawn: random.Random) -> list[str]:
    made = list(words)
    match drawn.randrange(4):
        case 0:
            made.insert(drawn.randint(0, len(made)), drawn.choice(pool))
        case 1 if len(made) > 1:
            del made[drawn.randrange(len(made))]
        case 2:
            made[drawn.randrange(len(made))] = drawn.choice(pool)
        case _:
            pass
    return made


def _joined(words: Sequence[str], payload: str, *, after: bool) -> str:
    text = " ".join(words)
    return f"{text}? {payload}" if after else f"{payload} {text}?"


async def served(attacks: Sequence[Attack], embedder: FastEmbedEmbedder, bound: float, *, warm: bool) -> int:
    """How many get the stored answer in promise mode; ``warm``: after real questions have taught it."""
    intents = questions()

    async def upstream(body: Mapping[str, Any]) -> str:
        await asyncio.sleep(0)
        question: str = body["messages"][-1]["content"]
        return intents.get(question, question)

    cache = CachePipeline(
        upstream,
        backend="memory://",
        embedder=embedder,
        judge=FakeJudge(),
        max_error=bound,
        ttl=None,
        strict=True,
    )
    hits = 0
    async with cache:
        if warm:
            for question in intents:
                await cache.ask(question)
                await cache.flush()
        for attack in attacks:
            await cache.ask(attack.stored)
            await cache.flush()
            outcome = await cache.ask(attack.asked, control={"no_store": True})
            hits += outcome.source is Source.SEMANTIC
    return hits


async def run(seed: int, climbs: int, *, warm_up: bool) -> dict[str, Any]:
    """Search, ask, print."""
    embedder = FastEmbedEmbedder()
    async with embedder.lifespan():
        vectors = Vectors(embedder)
        drawn = random.Random(seed)
        attacks = await edits(vectors)
        attacks += await climbed(vectors, sorted(questions()), drawn, climbs)
        kinds = sorted({attack.kind for attack in attacks})
        print(f"{len(attacks)} attacks with a cosine of {COSINE} or more")
        print(
            "kind          attacks   served at 0.95   "
            + "   ".join(f"promise {b:g} cold / warm" for b in BOUNDS)
        )
        table: dict[str, Any] = {}
        for kind in [*kinds, "all"]:
            some = [attack for attack in attacks if kind in (attack.kind, "all")]
            row: dict[str, Any] = {"attacks": len(some)}
            cells = []
            for bound in BOUNDS:
                cold = await served(some, embedder, bound, warm=False)
                warm = await served(some, embedder, bound, warm=True) if kind == "all" and warm_up else None
                row[f"promise {bound:g}"] = {"cold": cold, "warm": warm}
                cells.append(f"{cold:>12} / {'-' if warm is None else warm}")
            table[kind] = row
            print(f"{kind:<12}  {len(some):>7}   {len(some):>14}   {'   '.join(cells)}")
    return table


def main() -> None:
    """Run, and keep the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--climbs", type=int, default=CLIMBS, help="attempts by suffix or prefix")
    parser.add_argument("--cold", action="store_true", help="leave out the runs after a warm-up")
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args()
    table = asyncio.run(run(given.seed, given.climbs, warm_up=not given.cold))
    if given.save:
        path = Path(__file__).parent / "results" / "bench_attack.json"
        path.write_text(json.dumps({"cosine": COSINE, "seed": given.seed, "kinds": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
