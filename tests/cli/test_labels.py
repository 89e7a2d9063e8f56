from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache.cli._demo_semantic import hit_rate, wrong_hits
from asynccache.cli._labels import Labels, Pair, interval, spread
from asynccache.cli._tally import Kind, Tally

INTENTS = {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}


def test_hit_is_right_when_both_questions_carry_the_same_label() -> None:
    labels = Labels(INTENTS)
    labels.count("a1", "a2", 0.9)
    labels.count("b1", "a1", 0.8)
    assert (labels.judged, labels.wrong) == (2, 1)
    assert labels.pairs(right=True) == [Pair("a1", "a2", 0.9)]
    assert labels.pairs(right=False) == [Pair("b1", "a1", 0.8)]


def test_repeated_pair_is_one_pair_and_several_hits() -> None:
    labels = Labels(INTENTS)
    for similarity in (0.9, 0.9, 0.85):  # by way of an alias, the lesser of two steps counts
        labels.count("b1", "a1", similarity)
    assert (labels.judged, labels.wrong) == (3, 3)
    assert labels.pairs(right=False) == [Pair("b1", "a1", 0.9)]


@pytest.mark.parametrize(("asked", "answered"), [("a1", "who?"), ("who?", "a1"), ("a1", None)])
def test_question_without_a_label_is_judged_neither_right_nor_wrong(asked: str, answered: str | None) -> None:
    labels = Labels(INTENTS)
    labels.count(asked, answered, 0.9)
    assert (labels.judged, labels.wrong, labels.unknown) == (0, 0, 1)
    assert "1 on questions without a label" in wrong_hits(labels)


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (1, 29, 0.0061, 0.1718), (10, 10, 0.7225, 1.0)],
)
def test_interval_is_wilsons(count: int, total: int, low: float, high: float) -> None:
    assert interval(count, total) == pytest.approx((low, high), abs=1e-4)


def test_nothing_seen_leaves_everything_possible() -> None:
    assert interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 10_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_interval_holds_the_share_that_was_seen(seen: tuple[int, int]) -> None:
    count, total = seen
    low, high = interval(count, total)
    assert 0.0 <= low <= count / total + 1e-12
    assert count / total - 1e-12 <= high <= 1.0


@given(st.integers(0, 50), st.integers(2, 6))
def test_examples_reach_from_the_first_to_the_last(count: int, most: int) -> None:
    pairs = [Pair(str(number), "", number / 50) for number in range(count)]
    chosen = spread(pairs, most)
    assert len(chosen) == len(set(chosen)) == min(count, most)
    assert chosen == sorted(chosen, key=lambda pair: pair.similarity)
    if pairs:
        assert (chosen[0], chosen[-1]) == (pairs[0], pairs[-1])


def test_words_give_the_wrong_hits_beside_the_hits() -> None:
    tally, labels = Tally(), Labels(INTENTS)
    tally.seconds[Kind.MEMORY] += [0.0] * 5
    tally.seconds[Kind.SEMANTIC] += [0.0] * 3
    tally.seconds[Kind.UPSTREAM] += [0.0] * 2
    labels.count("b1", "a1", 0.8)
    labels.count("a1", "a2", 0.9)
    labels.count("a1", "a2", 0.9)
    assert hit_rate(tally, labels).startswith("80.0%: 50.0% exact")
    assert "30.0% semantic" in hit_rate(tally, labels)
    assert wrong_hits(labels).startswith("1 of 3 semantic hits (33.3%)")
    assert "counted once: 1 of 2, 95 % interval 9.5% to 90.5%" in wrong_hits(labels)
