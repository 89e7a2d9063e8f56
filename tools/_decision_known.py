"""Learning to calibrate: what a score means, given what the labels of the questions around say.

A stream is made of the texts that are learnt from: a bank of questions in their many phrasings, questions
that nobody asks twice, minimal edits of both. It walks through the decision as requests do, and what the
decision saw of each best candidate, with whether its answer was right, is learnt from. Scores come from
weights that knew neither text: where a score has been learnt by heart, there is nothing left to calibrate.
"""

# ruff: noqa: S311 - training needs no cryptographic chance

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import numpy as np
from _decision_fit import arrays, boosted
from _decision_material import Text
from numpy.typing import NDArray

from asynccache._judging import Label
from asynccache.decision import prepare
from asynccache.decision._local import Around, around
from asynccache.decision._sentences import says_more
from asynccache.decision.knowledge import Knowledge
from asynccache.decision.pair_score import Calibration, row_of
from asynccache.decision.promised import LOWEST, NEIGHBOURS, PRIOR

__all__ = ["SERVED", "Asked", "Seen", "by", "by_sum", "fit_calibration", "made", "walked"]

CANDIDATES: Final = 3
PHRASINGS: Final = ((1, 2, 3, 4, 6), (0.55, 0.25, 0.1, 0.06, 0.04))
"""In how many ways a question of our own is asked, and how often: few are asked again."""
SENTENCES: Final = 700
EDITS: Final = (("own:", 1_200), ("bank:", 400), ("snips:", 200))
TREES: Final = 60
LEAVES: Final = 5
BANK_EDITS: Final = 0.3
"""How much edits of the bank's questions count: of a bank whose answers are broad, some change nothing."""
SERVED: Final = (1.4, 1.6)
"""Least odds served while what is learnt from is gathered: by score and shift alone, then calibrated. What is
served is not stored, and so changes what later questions find."""
VERSION: Final = bytes(16)


@dataclass(frozen=True)
class Asked:
    """A stream of questions; all of one length, in the order in which they are asked."""

    texts: list[Text]
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Seen:
    """What the decision saw of each best candidate."""

    asked: NDArray[np.int64]
    """shape (n,): places in the stream."""
    proposed: NDArray[np.int64]
    """shape (n,): those of the candidates."""
    rows: NDArray[np.float32]
    """shape (n, features), as of ``row_of``."""
    right: NDArray[np.bool_]


def made(texts: Sequence[Text], originals: set[str], vectors: dict[str, NDArray[np.float32]]) -> Asked:
    """A stream of the texts: all originals, some of our own questions, and edits behind what they edit."""
    chance = random.Random(5)
    phrasings: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        if text.text not in phrasings[text.answer]:
            phrasings[text.answer].append(text.text)
    asked = [text for text in texts if text.text in originals and " edited " not in text.answer]
    own = [answer for answer in phrasings if answer.startswith("own:") and " edited " not in answer]
    chance.shuffle(own)
    tasks = [answer for answer in own if "'sentence'" in answer][:SENTENCES]
    for answer in [answer for answer in own if "'sentence'" not in answer] + tasks:
        (count,) = chance.choices(*PHRASINGS)
        some = chance.sample(phrasings[answer], min(count, len(phrasings[answer])))
        asked += [Text(text, answer) for text in some]
    answers = {text.answer for text in asked}
    edits: list[Text] = []
    for kind, count in EDITS:
        fitting = [
            name for name in phrasings if name.startswith(kind) and name.split(" edited ")[0] in answers
        ]
        chosen = [name for name in fitting if " edited " in name]
        edits += [Text(phrasings[name][0], name) for name in chance.sample(chosen, min(count, len(chosen)))]
    asked = list({text.text: text for text in asked}.values())
    chance.shuffle(asked)
    first = len(asked) // 3
    rest = asked[first:] + edits
    chance.shuffle(rest)
    found = [text for text in asked[:first] + rest if vectors[text.text].any()]
    return Asked(found, np.stack([vectors[text.text] for text in found]))


def walked(
    stream: Asked,
    score: Callable[[int, Sequence[int]], NDArray[np.float64]],
    calibrated: Callable[[int, float, float, Around], float],
    served: float,
) -> Seen:
    """Let the stream walk through the decision.

    Args:
        stream: the questions.
        score: log odds of stored questions for one asked, by their places.
        calibrated: the odds that decide, for one asked: of a score, a cosine and what is known around.
        served: least odds at which a candidate's answer is served, and the question not stored.
    """
    lessons = Knowledge(PRIOR).lessons(VERSION)
    keys = [sha256(b"%d" % at).digest() for at in range(len(stream.texts))]
    prepared = [prepare(text.text) for text in stream.texts]
    stored = np.zeros(len(keys), bool)
    asked: list[int] = []
    others: list[int] = []
    rows: list[list[float]] = []
    right: list[bool] = []
    for at, text in enumerate(stream.texts):
        places = np.flatnonzero(stored[:at])
        cosines = stream.vectors[places] @ stream.vectors[at]
        near = np.argsort(-cosines, kind="stable")[:NEIGHBOURS]
        places, cosines = places[near], cosines[near].astype(np.float64)
        proposed = [int(place) for place in places[:CANDIDATES][cosines[:CANDIDATES] >= LOWEST]]
        if proposed:
            scores = score(at, proposed)
            best = int(np.argmax(scores))
            other = proposed[best]
            known = around(cosines, lessons.known([keys[place] for place in places]), best)
            odds = calibrated(at, float(scores[best]), float(cosines[best]), known)
            same = text.answer == stream.texts[other].answer
            more = says_more(text.text, prepared[other]) or says_more(stream.texts[other].text, prepared[at])
            if not more:
                asked.append(at)
                others.append(other)
                rows.append(row_of(float(scores[best]), float(cosines[best]), known))
                right.append(same)
            if odds >= served and not more:
                continue
            lessons.take(
                Label(
                    *(keys[other], keys[at], VERSION, VERSION, float(scores[best]), odds, same, "miss"),
                    *(0.0, 0.0, 0.0, VERSION),
                )
            )
        stored[at] = True
    return Seen(np.array(asked), np.array(others), np.array(rows, np.float32), np.array(right))


def fit_calibration(seen: Seen, stream: Asked, weight: NDArray[np.float64] | None = None) -> dict[str, Any]:
    """The arrays of a calibration, without the part's name.

    Args:
        seen: what to learn from.
        stream: where it was seen.
        weight: shape (n,), how much each candidate counts, 0 for not at all; beside what is usual.
    """
    usual = np.array([_weight(stream.texts[at].answer) for at in seen.asked])
    weight = usual if weight is None else usual * weight
    rows, right, weight = seen.rows[weight > 0], seen.right[weight > 0], weight[weight > 0]
    # Of two candidates with one score, the nearer one is that whose words speak against it.
    signs = [1, -1, 1, 1, 1, 1]
    trees, base = arrays(
        boosted(rows, right, weight, max_iter=TREES, max_leaf_nodes=LEAVES, monotonic_cst=signs)
    )
    return {**{f"known_{name}": value for name, value in trees.items()}, "known_base": np.array(base)}


def _weight(answer: str) -> float:
    return BANK_EDITS if answer.startswith("bank:") and " edited " in answer else 1.0


def by_sum(_: int, score: float, __: float, known: Around) -> float:
    """The odds before anything is learnt."""
    return score + known.shift


def by(calibration: Calibration) -> Callable[[int, float, float, Around], float]:
    """The odds of a calibration."""
    return lambda _, score, cosine, known: calibration.of_row(row_of(score, cosine, known))
