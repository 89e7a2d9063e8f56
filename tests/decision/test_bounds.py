"""Intervals of shares, against published values and by simulation."""

from __future__ import annotations

import random

import pytest

from asynccache.decision._bounds import clopper_pearson, interval, upper


@pytest.mark.parametrize(
    ("wrong", "seen", "low", "high"),
    [  # exact intervals at 95 %, as every statistics package gives them
        (0, 100, 0.0, 0.036217),
        (5, 100, 0.016432, 0.112835),
        (50, 100, 0.398321, 0.601679),
        (1, 10, 0.002529, 0.445016),
        (10, 10, 0.691503, 1.0),
    ],
)
def test_clopper_and_pearson(wrong: int, seen: int, low: float, high: float) -> None:
    assert clopper_pearson(wrong, seen) == pytest.approx((low, high), abs=2e-6)


def test_nothing_seen_says_nothing() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_counts_need_not_be_whole() -> None:
    low, high = clopper_pearson(2.4, 300)
    assert clopper_pearson(2, 300)[1] < high < clopper_pearson(3, 300)[1]
    assert clopper_pearson(2, 300)[0] < low < clopper_pearson(3, 300)[0]


def test_the_upper_bound_is_near_the_exact_one_for_rare_things() -> None:
    for wrong, seen in ((1.0, 200.0), (4.0, 300.0), (20.0, 1000.0)):
        mean = wrong / seen
        drawn = random.Random(1)
        draws = sorted(drawn.betavariate(wrong, seen - wrong) for _ in range(40_000))
        exact = draws[int(0.975 * len(draws))]
        assert upper(mean, mean * (1 - mean) / (seen + 1)) == pytest.approx(exact, rel=0.05)


def test_the_interval_holds_95_of_100_draws() -> None:
    drawn = random.Random(2)
    low, high = interval(0.02, 0.02 * 0.98 / 501)
    inside = sum(low <= drawn.betavariate(10, 490) <= high for _ in range(20_000)) / 20_000
    assert inside == pytest.approx(0.95, abs=0.01)


def test_what_is_hardly_known_may_be_anything() -> None:
    assert upper(0.001, 0.5) == 1.0
    assert interval(0.5, 0.3) == (0.0, 1.0)
    assert upper(0.0, 0.0) == 0.0
