"""A promise is kept: by simulation, where the truth is known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from asynccache.decision._evidence import LABELS, SEEN, Evidence, bucket_of
from asynccache.decision.promise import CLOSED, Prior, Promise

PRIOR = Prior(slope=1.5, intercept=1.5, weight=4000.0)
FAMILY, OTHER = bytes(16), bytes([1]) * 16


def sigma(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))


def as_expected(score: float) -> float:
    return 1 - sigma(PRIOR.slope * score + PRIOR.intercept)


def asked(
    promise: Promise,
    rounds: int,
    *,
    wrong: Callable[[float], float] = as_expected,
    bound: float = 0.02,
    audit: float = 0.0,
    errs: float = 0.0,
    seed: int = 0,
    family: bytes = FAMILY,
) -> tuple[int, int]:
    """Questions with scores like those of a real stream: (hits, of which wrong)."""
    drawn = random.Random(seed)
    hits = bad = 0
    for _ in range(rounds):
        score = drawn.gauss(-1.0, 1.8)
        served = score >= promise.limit(family, bound)
        promise.see(family, score, served=served)
        same = drawn.random() >= wrong(score)
        if served:
            hits += 1
            bad += not same
        if not served or drawn.random() < audit:
            said = same if drawn.random() >= errs else not same
            promise.learn(family, score, same=said, missed=errs, accepted=errs)
    return hits, bad


def test_before_anything_is_known_a_stricter_promise_has_a_higher_limit() -> None:
    promise = Promise(PRIOR)
    limits = [promise.limit(FAMILY, bound) for bound in (0.1, 0.05, 0.02, 0.001)]
    assert limits == sorted(limits)
    assert 0 < limits[0] < limits[2] < CLOSED
    assert limits[3] == CLOSED  # no prior can promise one in a thousand


@pytest.mark.parametrize("errs", [0.0, 0.05])
@pytest.mark.parametrize("bound", [0.02, 0.05])
def test_it_is_kept_where_scores_mean_what_they_say(bound: float, errs: float) -> None:
    runs = [asked(Promise(PRIOR), 4000, bound=bound, errs=errs, seed=seed) for seed in range(20)]
    assert sum(hits for hits, _ in runs) > 20 * 100
    assert sum(bad for _, bad in runs) <= bound * sum(hits for hits, _ in runs)
    assert sum(bad <= bound * hits for hits, bad in runs) >= 17  # some have too few hits to tell


@pytest.mark.parametrize("bound", [0.02, 0.05])
def test_it_is_kept_where_scores_promise_too_much(bound: float) -> None:
    def worse(score: float) -> float:
        return 1 - sigma(1.5 * score + 0.3)

    runs = []
    for seed in range(20):
        promise = Promise(PRIOR)
        asked(promise, 2000, wrong=worse, bound=bound, errs=0.05, audit=0.02, seed=seed)
        runs.append(asked(promise, 4000, wrong=worse, bound=bound, errs=0.05, audit=0.02, seed=100 + seed))
    assert sum(bad for _, bad in runs) <= bound * sum(hits for hits, _ in runs)


def test_it_closes_where_nothing_keeps_it_and_opens_again_when_the_world_is_mended() -> None:
    promise = Promise(PRIOR)
    asked(promise, 3000, wrong=lambda _: 0.5)
    assert promise.limit(FAMILY, 0.02) == CLOSED
    asked(promise, 6000, seed=1)
    assert promise.limit(FAMILY, 0.02) < CLOSED


def test_good_labels_make_it_bolder() -> None:
    promise = Promise(PRIOR)
    before = promise.limit(FAMILY, 0.02)
    asked(promise, 4000, wrong=lambda score: as_expected(score) / 5)
    assert promise.limit(FAMILY, 0.02) < before


def test_a_family_with_few_labels_borrows_from_the_others_and_one_with_many_stands_alone() -> None:
    promise = Promise(PRIOR)
    asked(promise, 3000, family=FAMILY, seed=3)
    asked(promise, 3000, wrong=lambda _: 0.5, family=OTHER)
    assert promise.limit(OTHER, 0.05) == CLOSED
    assert promise.limit(FAMILY, 0.05) < CLOSED
    alone = Promise(PRIOR)
    assert promise.limit(b"never seen befor", 0.05) > alone.limit(FAMILY, 0.05)


def test_the_reported_interval_covers_the_truth() -> None:
    covered = 0
    for seed in range(40):
        promise = Promise(PRIOR)
        hits, bad = asked(promise, 4000, bound=0.05, audit=0.02, errs=0.05, seed=seed)
        estimate = promise.estimate()
        assert estimate is not None
        assert estimate.low <= estimate.rate <= estimate.high
        covered += estimate.low <= bad / hits <= estimate.high
    assert covered >= 38


def test_labels_without_the_questions_they_came_with_are_enough_to_stay_open() -> None:
    """As after a restart: labels are kept, questions seen are not."""
    before, after = Promise(PRIOR), Promise(PRIOR)
    drawn = random.Random(5)
    for _ in range(2000):
        score = drawn.gauss(-1.0, 1.8)
        same = drawn.random() >= as_expected(score)
        if score < 1.5:
            before.learn(FAMILY, score, same=same)
            after.learn(FAMILY, score, same=same)
        before.see(FAMILY, score, served=score >= 1.5)
    assert before.limit(FAMILY, 0.05) < CLOSED
    assert abs(after.limit(FAMILY, 0.05) - before.limit(FAMILY, 0.05)) < 0.7


def test_no_family_speaks_for_another() -> None:
    promise = Promise(PRIOR)
    alone = promise.limit(FAMILY, 0.02)
    for _ in range(3000):
        promise.see(OTHER, 3.0, served=True)
        promise.learn(OTHER, 1.0, same=True)
    promise.learn(FAMILY, -1.0, same=False)
    lent = promise.limit(FAMILY, 0.02)
    assert lent < alone  # it may borrow
    for _ in range(400):
        promise.learn(FAMILY, 1.0, same=False)
    assert promise.limit(FAMILY, 0.02) > lent  # and soon speaks for itself


def test_without_hits_there_is_no_estimate() -> None:
    promise = Promise(PRIOR)
    assert promise.estimate() is None
    promise.see(FAMILY, 9.0, served=False)
    assert promise.estimate() is None


def test_a_judge_that_tosses_a_coin_teaches_nothing() -> None:
    promise = Promise(PRIOR)
    before = promise.limit(FAMILY, 0.05)
    for _ in range(500):
        promise.learn(FAMILY, 3.0, same=False, missed=0.5, accepted=0.5)
    assert promise.limit(FAMILY, 0.05) == before


def test_windows_forget_what_is_old() -> None:
    evidence = Evidence()
    for _ in range(LABELS):
        evidence.learn(bucket_of(2.0), same=False, missed=0.1, accepted=0.1)
    for _ in range(SEEN):
        evidence.see(bucket_of(2.0), served=True)
    assert evidence.served.sum() == SEEN
    for _ in range(LABELS):
        evidence.learn(bucket_of(1.0), same=True, missed=0.1, accepted=0.1)
    for _ in range(SEEN):
        evidence.see(bucket_of(1.0), served=False)
    assert evidence.labels[:, bucket_of(2.0)] == pytest.approx([0, 0, 0, 0], abs=1e-6)
    assert evidence.labels[:, bucket_of(1.0)] == pytest.approx(
        [LABELS, 0, 0.1 * LABELS, 0.1 * LABELS], rel=1e-5
    )
    assert evidence.mass[bucket_of(1.0)] == SEEN
    assert evidence.served.sum() == 0


def test_families_without_end_do_not_fill_the_memory() -> None:
    promise = Promise(PRIOR)
    for number in range(2000):
        promise.see(number.to_bytes(16, "big"), 1.0, served=False)
    assert promise.nbytes < 2_000_000
