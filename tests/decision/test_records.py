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
    pull, information, _ = records.known([key(number) for number in range(13)])
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
    known = records.known([key(2)])
    assert known.pull.tolist() == known.information.tolist() == [0.0]
    assert [part.shape for part in records.known([])] == [(0,)] * 3


def test_many_questions_are_told_apart_while_the_table_grows() -> None:
    records = Records()
    for number in range(20_000):
        records.learn(key(number), float(number % 7), likely=float(number % 2 == 0))
    pull, *_ = records.known([key(number) for number in range(20_000)])
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
    known = records.known([key(number) for number in range(1001)])[0] != 0
    assert known.tolist() == [False] * 500 + [True] * 501
    assert len(records) == 501


def groups(records: Records, *numbers: int) -> list[int]:
    found = records.known([key(number) for number in numbers]).groups.tolist()
    return [found.index(group) for group in found]


def test_question_of_which_nothing_is_known_is_a_group_of_its_own() -> None:
    records = Records()
    records.learn(key(1), 2.0, likely=1.0)
    assert groups(records, 0, 1, 2) == [0, 1, 2]


def test_questions_that_turned_out_to_share_an_answer_are_one_group() -> None:
    records = Records()
    records.join(key(2), key(1))
    records.join(key(3), key(2))
    assert groups(records, 1, 2, 3, 4) == [0, 0, 0, 3]


def test_groups_never_merge() -> None:
    records = Records()
    records.join(key(2), key(1))
    records.join(key(4), key(3))
    records.join(key(2), key(4))  # one label more, right or wrong, moves one question
    assert groups(records, 1, 2, 3, 4) == [0, 1, 1, 1]


def test_question_leaves_the_group_of_an_answer_that_was_wrong_for_it() -> None:
    records = Records()
    records.join(key(2), key(1))
    records.leave(key(2), key(3))  # wrong for it too, but it never was of that one's group
    assert groups(records, 1, 2) == [0, 0]
    records.leave(key(2), key(1))
    records.leave(key(5), key(1))
    assert groups(records, 1, 2, 5) == [0, 1, 2]


def test_a_wrong_label_between_two_members_leaves_the_rest_together_whoever_was_asked() -> None:
    records = Records()
    for number in (2, 3, 4):
        records.join(key(number), key(1))
    records.leave(key(1), key(2))  # the founder was asked, and the member proposed
    assert groups(records, 1, 2, 3, 4) == [0, 1, 0, 0]
    records.leave(key(3), key(4))
    assert groups(records, 1, 2, 3, 4) == [0, 1, 2, 3]


def test_groups_outlive_the_growth_of_the_table_and_the_forgetting_of_the_older_half() -> None:
    records = Records(most=2_000)
    for number in range(5_000):
        records.join(key(number), key(number % 2))
    last = records.known([key(number) for number in range(4_900, 5_000)]).groups
    assert len(set(last.tolist())) == 2
    assert len(set(last[::2].tolist())) == len(set(last[1::2].tolist())) == 1
