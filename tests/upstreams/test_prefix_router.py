"""A prefix stays with its replica as long as that one is up and not too busy."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache import ConfigurationError
from asynccache.upstreams.prefix_router import PrefixRouter

THREE = ("http://a", "http://b", "http://c")


def prefixes(count: int) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in range(count)]


def placed(router: PrefixRouter, keys: Iterable[bytes], *, now: float = 0.0) -> dict[bytes, str | None]:
    return {key: router.choose(key, now=now) for key in keys}


def sent(router: PrefixRouter, prefix: bytes, *, now: float) -> str:
    """A request that is over before the next one comes."""
    chosen = router.choose(prefix, now=now)
    assert chosen is not None
    router.started(chosen)
    router.finished(chosen)
    return chosen


def test_a_prefix_has_one_replica_whatever_the_order_of_their_names() -> None:
    keys = prefixes(200)
    assert placed(PrefixRouter(THREE), keys) == placed(PrefixRouter(THREE[::-1]), keys)


def test_placement_is_the_same_in_every_process() -> None:
    router = PrefixRouter(THREE)
    assert "".join(str(router.choose(key, now=0))[-1] for key in prefixes(12)) == "cabbcbaabcac"


def test_prefixes_are_spread_over_all_replicas() -> None:
    counts = Counter(placed(PrefixRouter(THREE), prefixes(3000)).values())
    assert set(counts) == set(THREE)
    assert max(counts.values()) < 1100


def test_a_replica_that_joins_takes_its_share_and_moves_nothing_else() -> None:
    router, keys = PrefixRouter(THREE), prefixes(3000)
    before = placed(router, keys)
    router.add("http://d")
    after = placed(router, keys)
    moved = [key for key in keys if before[key] != after[key]]
    assert {after[key] for key in moved} == {"http://d"}
    assert len(moved) == pytest.approx(3000 / 4, rel=0.15)


def test_a_replica_that_leaves_moves_only_its_own_prefixes() -> None:
    router, keys = PrefixRouter(THREE), prefixes(3000)
    before = placed(router, keys)
    router.remove("http://b")
    after = placed(router, keys)
    moved = [key for key in keys if before[key] != after[key]]
    assert {before[key] for key in moved} == {"http://b"}
    assert len(moved) == pytest.approx(3000 / 3, rel=0.15)
    assert Counter(after[key] for key in moved)["http://a"] == pytest.approx(500, rel=0.25)


def test_a_replica_that_joins_under_load_moves_its_share_only() -> None:
    router, keys = PrefixRouter(THREE), prefixes(400)
    before = {key: sent(router, key, now=0) for key in keys}
    router.add("http://d")
    moved = sum(sent(router, key, now=0) != before[key] for key in keys)
    assert moved < 400 * 0.35


def test_a_refused_request_goes_to_the_second_in_its_order() -> None:
    router = PrefixRouter(THREE)
    for key in prefixes(50):
        first = router.choose(key, now=0)
        assert first is not None
        second = router.choose(key, now=0, without={first})
        rest = PrefixRouter([name for name in THREE if name != first])
        assert second == rest.choose(key, now=0) != first


def test_without_all_there_is_none() -> None:
    assert PrefixRouter(THREE).choose(b"x", now=0, without=THREE) is None


@given(
    st.integers(1, 5),
    st.floats(1, 3),
    st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=80),
)
def test_no_replica_has_more_in_flight_than_its_bound(
    count: int, factor: float, steps: list[tuple[bool, int]]
) -> None:
    router = PrefixRouter([f"r{number}" for number in range(count)], load_factor=factor)
    running: list[str] = []
    for starts, number in steps:
        if starts or not running:
            most = ceil(factor * (len(running) + 1) / count)
            chosen = router.choose(bytes([number]), now=0)
            assert chosen is not None
            router.started(chosen)
            running.append(chosen)
            assert router.in_flight[chosen] <= most
        else:
            router.finished(running.pop(number % len(running)))
        assert router.in_flight == {name: running.count(name) for name in router.replicas}


def test_a_crowd_with_one_prefix_spills_and_comes_back() -> None:
    router = PrefixRouter(THREE)
    home = router.choose(b"x", now=0)
    crowd = []
    for _ in range(12):
        chosen = router.choose(b"x", now=0)
        assert chosen is not None
        router.started(chosen)
        crowd.append(chosen)
    assert max(Counter(crowd).values()) <= 5
    for replica in crowd:
        router.finished(replica)
    assert router.choose(b"x", now=3600) == home


@pytest.mark.parametrize(
    ("count", "apart", "most"),
    [(2, 0.01, 1.25), (2, 0.5, 1.25), (3, 0.01, 1.25), (3, 0.5, 1.25), (5, 0.01, 1.25), (5, 0.5, 1.3)],
)
def test_one_prefix_with_most_of_the_traffic_is_shared_out(count: int, apart: float, most: float) -> None:
    router, chance = PrefixRouter([f"r{number}" for number in range(count)]), random.Random(1)
    others = prefixes(50)
    went = Counter(
        sent(router, b"hot" if chance.random() < 0.9 else chance.choice(others), now=apart * number)
        for number in range(2000)
    )
    assert max(went.values()) <= most * 2000 / count


@pytest.mark.parametrize("seed", range(10))
def test_few_tenants_one_request_at_a_time_are_spread_evenly(seed: int) -> None:
    router, chance = PrefixRouter(("a", "b")), random.Random(seed)
    tenants = [chance.randbytes(32) for _ in range(24)]
    went = Counter(sent(router, chance.choice(tenants), now=0.5 * number) for number in range(200))
    assert max(went.values()) <= 1.25 * 100


def test_what_moved_for_load_stays_moved() -> None:
    keys, chance = prefixes(60), random.Random(0)
    first = placed(PrefixRouter(("a", "b")), keys)
    tenants = [
        *[key for key in keys if first[key] == "a"][:15],
        *[key for key in keys if first[key] == "b"][:5],
    ]
    router = PrefixRouter(("a", "b"))
    last: dict[bytes, str] = {}
    went: Counter[str] = Counter()
    changes = 0
    for number in range(2000):
        tenant = chance.choice(tenants)
        chosen = sent(router, tenant, now=0.5 * number)
        if number >= 1000:
            changes += last[tenant] != chosen
            went[chosen] += 1
        last[tenant] = chosen
    assert max(went.values()) <= 1.25 * 500
    assert changes <= 10


def test_a_prefix_that_was_not_asked_for_long_goes_back_to_its_first() -> None:
    router = PrefixRouter(("a", "b"))
    home = router.choose(b"x", now=0)
    assert home is not None
    router.started(home, work=100)
    router.finished(home)
    assert [sent(router, b"x", now=now) == home for now in (0, 590, 1180, 1781)] == [
        False,
        False,
        False,
        True,
    ]


def test_sparse_traffic_stays_where_its_prefix_is() -> None:
    router = PrefixRouter(THREE)
    assert len({sent(router, b"x", now=30.0 * number) for number in range(200)}) == 1


def test_costlier_requests_weigh_more() -> None:
    router = PrefixRouter(("a", "b"))
    home = router.choose(b"x", now=0)
    assert home is not None
    router.started(home, work=100)
    router.finished(home)
    assert router.choose(b"x", now=0) != home


def test_a_replica_that_failed_is_left_out_for_a_while() -> None:
    router = PrefixRouter(THREE, eject_seconds=10)
    home = router.choose(b"x", now=100)
    assert home is not None
    router.failed(home, now=100)
    assert router.ejected(now=109.9) == (home,)
    assert router.choose(b"x", now=109.9) != home
    assert router.choose(b"x", now=110) == home
    assert router.ejected(now=110) == ()


def test_each_failure_in_a_row_ejects_for_longer_up_to_a_bound() -> None:
    router, now, lasted = PrefixRouter(("a", "b"), eject_seconds=10), 0.0, []
    for _ in range(8):
        router.failed("a", now=now)
        router.failed("a", now=now)  # sent before: does not count again
        lasted.append(next(wait for wait in range(1, 1000) if not router.ejected(now=now + wait)))
        now += lasted[-1]
    assert lasted == [10, 20, 40, 80, 160, 320, 320, 320]


def test_a_success_ends_the_row_of_failures() -> None:
    router = PrefixRouter(("a", "b"), eject_after=2, eject_seconds=10)
    router.failed("a", now=0)
    router.succeeded("a")
    router.failed("a", now=0)
    assert router.ejected(now=0) == ()
    router.failed("a", now=0)
    assert router.ejected(now=0) == ("a",)
    router.succeeded("a")
    assert router.ejected(now=0) == ()


def test_when_all_are_ejected_the_one_that_is_back_first_is_taken() -> None:
    router = PrefixRouter(THREE)
    for at, name in enumerate(("http://b", "http://c", "http://a")):
        router.failed(name, now=float(at))
    assert {router.choose(key, now=3) for key in prefixes(20)} == {"http://b"}
    assert router.choose(b"x", now=3, without=("http://b",)) == "http://c"


def test_a_replica_that_comes_back_gets_its_own_prefixes_and_no_rush() -> None:
    router, keys = PrefixRouter(THREE), prefixes(300)
    before = {key: sent(router, key, now=0) for key in keys}
    router.failed("http://a", now=0)
    for round_ in range(3):
        for key in keys:
            assert sent(router, key, now=1.0 + round_) != "http://a"
    after = {key: sent(router, key, now=10) for key in keys}
    assert sum(before[key] == after[key] for key in keys) > 300 * 0.85
    assert Counter(after.values())["http://a"] <= 1.25 * 100


def test_what_has_left_is_passed_over() -> None:
    router = PrefixRouter(("a", "b"))
    router.started("a")
    router.remove("a")
    for call in (router.started, router.finished, router.succeeded, router.remove):
        call("a")
    router.failed("a", now=0)
    router.add("a")
    router.finished("a")
    assert router.in_flight == {"a": 0, "b": 0}


@pytest.mark.parametrize(
    ("replicas", "options", "words"),
    [
        ([], {}, "replicas: give a sequence"),
        ("http://a", {}, "replicas: give a sequence"),
        (["a", "a"], {}, "replica 'a'"),
        ([""], {}, "replica ''"),
        (["a"], {"load_factor": 0.9}, "load_factor=0.9"),
        (["a"], {"half_life": 0}, "half_life=0"),
        (["a"], {"eject_seconds": float("nan")}, "eject_seconds=nan"),
    ],
)
def test_what_cannot_work_is_refused_by_name(replicas: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        PrefixRouter(replicas, **options)
