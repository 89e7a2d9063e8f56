"""Every vector compared."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from asynccache._protocols import VectorIndex
from asynccache.index.exact import ExactIndex


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def unit(count: int, dim: int, *, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def filled(rows: NDArray[np.float32]) -> ExactIndex:
    index = ExactIndex(rows.shape[1])
    index.add([key(number) for number in range(len(rows))], rows)
    return index


def test_it_is_a_vector_index() -> None:
    assert isinstance(ExactIndex(4), VectorIndex)


@pytest.mark.parametrize("count", [1, 15, 17, 1023, 1024, 1025, 3000])
def test_nearest_is_what_sorting_all_cosines_gives(count: int) -> None:
    rows, queries = unit(count, 16), unit(7, 16, seed=1)
    found = filled(rows).nearest(queries, 5)
    for query, neighbours in zip(queries, found, strict=True):
        cosines = rows @ query
        expected = np.argsort(-cosines)[:5]
        assert [each.key for each in neighbours] == [key(number) for number in expected.tolist()]
        assert [each.similarity for each in neighbours] == pytest.approx(cosines[expected].tolist(), abs=1e-6)


def test_queries_that_do_not_fit_together_are_answered_all_the_same() -> None:
    rows = unit(5000, 4)
    found = filled(rows).nearest(rows[:1000], 1)  # 5 million cosines
    assert [neighbours[0].key for neighbours in found] == [key(number) for number in range(1000)]


def test_more_than_held_is_all_that_is_held() -> None:
    rows = unit(3, 4)
    (found,) = filled(rows).nearest(rows[:1], 10)
    assert {each.key for each in found} == {key(0), key(1), key(2)}


def test_an_empty_index_finds_nothing() -> None:
    assert ExactIndex(4).nearest(unit(2, 4), 3) == [[], []]
    assert filled(unit(2, 4)).nearest(unit(2, 4), 0) == [[], []]
    assert filled(unit(2, 4)).nearest(unit(0, 4), 3) == []


def test_equals_come_in_the_order_of_their_keys() -> None:
    index = ExactIndex(4)
    row = unit(1, 4)
    for number in (5, 3, 9, 1):
        index.add([key(number)], row)
    (found,) = index.nearest(row, 4)
    assert [each.key for each in found] == [key(number) for number in (1, 3, 5, 9)]


def test_ties_for_the_last_rank_are_always_settled_the_same_way() -> None:
    index = ExactIndex(4)
    rows = np.repeat(unit(1, 4), 50, axis=0)
    index.add([key(number) for number in range(50)], rows)
    first = index.nearest(rows[:1], 3)
    assert len(first[0]) == 3
    assert all(index.nearest(rows[:1], 3) == first for _ in range(5))


def test_a_similarity_is_never_above_one() -> None:
    rows = unit(500, 384)
    found = filled(rows).nearest(rows, 1)
    assert max(neighbours[0].similarity for neighbours in found) == 1.0


def test_a_key_added_again_has_its_new_vector_only() -> None:
    rows = unit(2, 4)
    index = ExactIndex(4)
    index.add([key(0)], rows[:1])
    index.add([key(0)], rows[1:])
    (found,) = index.nearest(rows[1:], 5)
    assert [(each.key, round(each.similarity, 5)) for each in found] == [(key(0), 1.0)]


def test_of_a_key_told_twice_at_once_the_last_vector_counts() -> None:
    rows = unit(2, 4)
    index = ExactIndex(4)
    index.add([key(0), key(0)], rows)
    assert len(index) == 1
    assert np.array_equal(index.vectors_of([key(0)]), rows[1:])


def test_removing_leaves_the_others_as_they_were() -> None:
    rows = unit(3000, 8)
    index = filled(rows)
    doomed = set(np.random.default_rng(2).permutation(3000)[:2000].tolist())
    assert index.remove([key(number) for number in doomed] + [key(9999)]) == 2000
    left = [number for number in range(3000) if number not in doomed]
    assert set(index.keys()) == {key(number) for number in left}
    assert np.array_equal(index.vectors_of([key(number) for number in left]), rows[left])
    (found,) = index.nearest(rows[:1], 3000)
    assert {each.key for each in found} == {key(number) for number in left}


def test_removed_vectors_are_overwritten() -> None:
    rows = unit(40, 8)
    index = filled(rows)
    index.remove([key(number) for number in range(20, 40)])
    (block,) = index._blocks
    assert len(block) == 64  # the very one they were in
    assert not block[20:].any()


def test_memory_follows_what_is_held() -> None:
    rows = unit(5000, 64)
    index = filled(rows)
    full = index.nbytes
    assert full >= rows.nbytes
    index.remove([key(number) for number in range(10, 5000)])
    assert index.nbytes < full / 20
    index.add([key(number) for number in range(5000)], rows)
    assert np.array_equal(index.vectors_of([key(4321)]), rows[4321:4322])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, 3e38])
def test_a_bad_number_is_refused_and_nothing_changes(bad: float) -> None:
    rows = unit(3, 4)
    index = filled(rows[:1])
    rows[2, 1] = bad
    if bad == 0.0:
        rows[2] = 0.0
    with pytest.raises(ValueError, match="norm 1"):
        index.add([key(0), key(1), key(2)], rows[::-1])
    assert list(index.keys()) == [key(0)]
    assert np.array_equal(index.vectors_of([key(0)]), rows[:1])
    with pytest.raises(ValueError, match="norm 1"):
        index.nearest(rows[2:], 1)


def test_a_vector_of_another_length_or_norm_or_shape_is_refused() -> None:
    index = ExactIndex(4)
    with pytest.raises(ValueError, match=r"\(n, 4\)"):
        index.add([key(0)], unit(1, 5))
    with pytest.raises(ValueError, match=r"\(n, 4\)"):
        index.add([key(0)], unit(1, 4)[0])
    with pytest.raises(ValueError, match="norm 1"):
        index.add([key(0)], unit(1, 4) * np.float32(1.01))
    with pytest.raises(ValueError, match=r"\(n, 4\)"):
        index.nearest(unit(1, 5), 1)
    assert len(index) == 0


def test_keys_and_expiries_must_fit_their_vectors() -> None:
    index = ExactIndex(4)
    with pytest.raises(ValueError, match="2 keys and 1 vectors"):
        index.add([key(0), key(1)], unit(1, 4))
    with pytest.raises(ValueError, match="32 bytes"):
        index.add([b"short"], unit(1, 4))
    with pytest.raises(ValueError, match="an expiry for each"):
        index.add([key(0)], unit(1, 4), [])
    with pytest.raises(ValueError, match="seconds since the epoch"):
        index.add([key(0)], unit(1, 4), [math.nan])
    assert len(index) == 0


def test_expired_ones_are_left_out_and_can_be_asked_for() -> None:
    rows = unit(3, 4)
    index = ExactIndex(4)
    index.add([key(0), key(1), key(2)], rows, [10.0, 20.0, math.inf])
    (found,) = index.nearest(rows[:1], 3, now=10.0)
    assert {each.key for each in found} == {key(1), key(2)}
    assert len(index.nearest(rows[:1], 3)[0]) == 3
    assert index.expired(20.0, 10) == [key(0), key(1)]
    assert index.expired(20.0, 1) == [key(0)]
    assert index.expiries_of([key(2), key(0)]) == [math.inf, 10.0]


def test_keys_are_told_in_the_order_they_came() -> None:
    index = filled(unit(5, 4))
    index.remove([key(0), key(2)])
    index.add([key(0)], unit(1, 4))
    assert index.oldest(3) == [key(1), key(3), key(4)]


def test_a_key_that_is_not_held_has_no_vector() -> None:
    with pytest.raises(KeyError):
        filled(unit(1, 4)).vectors_of([key(1)])
