"""What is remembered of questions, against a plain model; and how little it takes."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache.decision.records import RING, Records


def key(number: int) -> bytes:
    return sha256(b"%d" % number).digest()


def sigma(score: float) -> float:
    return 1 / (1 + math.exp(-max(-15.0, min(15.0, score))))


LABELS = st.lists(
    st.tuples(st.integers(0, 12), st.floats(-20, 20), st.floats(0, 1), st.booleans()), min_size=1, max_size=80
)


@given(LABELS)
def test_sums_are_those_of_the_last_labels(labels: list[tuple[int, float, float, bool]]) -> None:
    records = Records()
    own: dict[int, tuple[float, float]] = {}
    rings: dict[int, deque[tuple[float, float]]] = defaultdict(lambda: deque(maxlen=RING))
    for number, score, likely, asked in labels:
        records.learn(key(number), score, likely=likely, asked=asked)
        if asked:
            own[number] = (score, likely)
        else:
            rings[number].append((score, likely))
    pull, information = records.sums([key(number) for number in range(13)])
    for number in range(13):
        known = [*rings[number], *([own[number]] if number in own else [])]
        # Scores are kept in steps of 1/8, likelihoods in those of 1/255.
        assert pull[number] == pytest.approx(
            sum(y - sigma(s) for s, y in known), abs=0.02 * len(known) + 1e-6
        )
        assert information[number] == pytest.approx(
            sum(sigma(s) * (1 - sigma(s)) for s, _ in known), abs=0.02 * len(known) + 1e-6
        )


def test_nothing_is_known_of_a_question_without_labels() -> None:
    records = Records()
    records.learn(key(1), 2.0, likely=0.0)
    assert np.array_equal(records.sums([key(2)]), np.zeros((2, 1)))
    assert records.sums([])[0].shape == (0,)


def test_many_questions_are_told_apart_while_the_table_grows() -> None:
    records = Records()
    for number in range(20_000):
        records.learn(key(number), float(number % 7), likely=float(number % 2 == 0))
    pull, _ = records.sums([key(number) for number in range(20_000)])
    expected = [(number % 2 == 0) - sigma(number % 7) for number in range(20_000)]
    assert np.allclose(pull, expected, atol=1e-2)


def test_a_label_takes_at_most_64_bytes() -> None:
    records = Records()
    worst = 0.0
    for number in range(200_000):
        records.learn(key(number), 1.0, likely=1.0, asked=True)
        if number > 10_000:
            worst = max(worst, records.nbytes / len(records)) if number % 997 == 0 else worst
    assert 0 < worst <= 64 - 9  # nine more in the window of the promise


def test_the_older_half_is_forgotten_when_there_are_too_many() -> None:
    records = Records(most=1000)
    for number in range(1001):
        records.learn(key(number), 0.0, likely=1.0)
    known = records.sums([key(number) for number in range(1001)])[0] != 0
    assert known.tolist() == [False] * 500 + [True] * 501
    assert len(records) == 501
