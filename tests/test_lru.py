"""The LRU map: examples, and a comparison with a list that does the same slowly."""

from __future__ import annotations

from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import given

from asynccache._lru import LRU

FOREVER = float("inf")


def test_item_is_returned_until_its_instant_and_not_at_it() -> None:
    lru = LRU[str, int](max_items=9, max_weight=9)
    assert lru.put("a", 1, weight=1, until=10.0, now=0.0)
    assert lru.get("a", 9.999) == 1
    assert lru.peek("a", 10.0) is None
    assert len(lru) == 1
    assert lru.get("a", 10.0) is None
    assert (len(lru), lru.weight) == (0, 0)
    assert (lru.hits, lru.misses, lru.expired, lru.evictions) == (1, 1, 1, 0)


def test_least_recently_used_item_is_evicted() -> None:
    lru = LRU[str, int](max_items=2, max_weight=9)
    lru.put("a", 1, weight=1, until=FOREVER, now=0)
    lru.put("b", 2, weight=1, until=FOREVER, now=0)
    lru.get("a", 0)
    lru.peek("b", 0)  # does not count as use
    lru.put("c", 3, weight=1, until=FOREVER, now=0)
    assert [lru.peek(key, 0) for key in "abc"] == [1, None, 3]
    assert lru.evictions == 1


def test_heavy_item_evicts_as_many_as_it_needs() -> None:
    lru = LRU[str, int](max_items=9, max_weight=10)
    for key in "abcd":
        lru.put(key, 0, weight=2, until=FOREVER, now=0)
    lru.put("e", 0, weight=5, until=FOREVER, now=0)
    assert [lru.peek(key, 0) for key in "abcde"] == [None, None, 0, 0, 0]
    assert lru.weight == 9


def test_item_heavier_than_the_budget_is_not_kept_and_only_its_predecessor_goes() -> None:
    lru = LRU[str, int](max_items=9, max_weight=10)
    lru.put("a", 1, weight=4, until=FOREVER, now=0)
    lru.put("b", 2, weight=4, until=FOREVER, now=0)
    assert not lru.put("a", 3, weight=11, until=FOREVER, now=0)
    assert (lru.peek("a", 0), lru.peek("b", 0), lru.weight) == (None, 2, 4)


def test_item_as_heavy_as_the_budget_is_kept() -> None:
    lru = LRU[str, int](max_items=9, max_weight=10)
    lru.put("a", 1, weight=4, until=FOREVER, now=0)
    assert lru.put("b", 2, weight=10, until=FOREVER, now=0)
    assert (lru.peek("a", 0), lru.peek("b", 0)) == (None, 2)


def test_expired_item_is_not_taken_in_and_its_predecessor_goes() -> None:
    lru = LRU[str, int](max_items=9, max_weight=10)
    lru.put("a", 1, weight=1, until=FOREVER, now=0)
    assert not lru.put("a", 2, weight=1, until=5.0, now=5.0)
    assert lru.peek("a", 0) is None


def test_every_item_that_leaves_is_told() -> None:
    left: list[tuple[str, int]] = []
    lru = LRU[str, int](max_items=2, max_weight=9, on_drop=lambda key, value: left.append((key, value)))
    lru.put("a", 1, weight=1, until=FOREVER, now=0)
    lru.put("a", 2, weight=1, until=FOREVER, now=0)  # replaced
    lru.put("b", 3, weight=1, until=5.0, now=0)
    lru.put("c", 4, weight=1, until=FOREVER, now=0)  # evicted
    lru.get("b", 5.0)  # expired
    lru.pop("c", 0)
    lru.put("d", 5, weight=1, until=FOREVER, now=0)
    assert lru.clear(0) == 1
    assert left == [("a", 1), ("a", 2), ("b", 3), ("c", 4), ("d", 5)]


@dataclass
class SlowLRU:
    """The model: a list of (key, value, weight, until), least recently used first."""

    max_items: int
    max_weight: int
    items: list[tuple[int, int, int, float]] = field(default_factory=list)

    def live(self, key: int, now: float) -> int | None:
        return next((value for k, value, _, until in self.items if k == key and now < until), None)

    def without(self, key: int) -> list[tuple[int, int, int, float]]:
        return [item for item in self.items if item[0] != key]

    def get(self, key: int, now: float) -> int | None:
        value = self.live(key, now)
        mine = [item for item in self.items if item[0] == key and value is not None]
        self.items = self.without(key) + mine
        return value

    def put(self, key: int, value: int, weight: int, until: float, now: float) -> None:
        self.items = self.without(key)
        if weight <= self.max_weight and now < until:
            self.items.append((key, value, weight, until))
        while len(self.items) > self.max_items or sum(item[2] for item in self.items) > self.max_weight:
            del self.items[0]


keys = st.integers(0, 5)
steps = st.one_of(
    st.tuples(st.just("get"), keys),
    st.tuples(st.just("pop"), keys),
    st.tuples(st.just("put"), keys, st.integers(0, 12), st.sampled_from([1.0, 3.0, FOREVER])),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 2.0])),
    st.tuples(st.just("clear")),
)


@given(st.integers(1, 4), st.integers(1, 10), st.lists(steps, max_size=40))
def test_any_history_gives_what_the_model_gives(
    max_items: int, max_weight: int, history: list[tuple[object, ...]]
) -> None:
    lru = LRU[int, int](max_items=max_items, max_weight=max_weight)
    model = SlowLRU(max_items, max_weight)
    now = 0.0
    for number, step in enumerate(history):
        match step:
            case ("get", int(key)):
                assert lru.get(key, now) == model.get(key, now)
            case ("pop", int(key)):
                assert lru.pop(key, now) == model.live(key, now)
                model.items = model.without(key)
            case ("put", int(key), int(weight), float(ttl)):
                kept = lru.put(key, number, weight=weight, until=now + ttl, now=now)
                model.put(key, number, weight, now + ttl, now)
                assert kept == (model.live(key, now) is not None)
            case ("wait", float(seconds)):
                now += seconds
            case _:
                assert lru.clear(now) == sum(now < item[3] for item in model.items)
                model.items = []
        assert list(lru.values(now)) == [value for _, value, _, until in model.items if now < until]
        assert len(lru) == len(model.items) <= max_items
        assert lru.weight == sum(item[2] for item in model.items) <= max_weight
