"""The graph of hnswlib, and what it must be kept from."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from asynccache._errors import ConfigurationError
from asynccache._protocols import VectorIndex
from asynccache.index.hnsw import HnswIndex


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def unit(count: int, dim: int, *, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def filled(rows: NDArray[np.float32], *, capacity: int = 1024, m: int = 16, ef: int = 64) -> HnswIndex:
    index = HnswIndex(rows.shape[1], capacity=capacity, m=m, ef=ef)
    index.add([key(number) for number in range(len(rows))], rows)
    return index


def test_it_is_a_vector_index() -> None:
    assert isinstance(HnswIndex(4), VectorIndex)


def test_it_finds_what_it_holds() -> None:
    rows = unit(500, 16)
    found = filled(rows).nearest(rows, 3)
    assert [neighbours[0].key for neighbours in found] == [key(number) for number in range(500)]
    for row, neighbours in zip(rows, found, strict=True):
        for name, similarity, _ in neighbours:
            assert similarity == pytest.approx(float(rows[int.from_bytes(name, "big")] @ row), abs=1e-5)
            assert similarity <= 1.0


def test_an_empty_index_finds_nothing() -> None:
    index = HnswIndex(4)
    assert index.nearest(unit(2, 4), 3) == [[], []]
    index.add([], unit(0, 4))
    index.add([key(0)], unit(1, 4))
    assert index.nearest(unit(2, 4), 0) == [[], []]
    assert index.nearest(unit(0, 4), 3) == []
    assert index.remove([key(0)]) == 1
    assert index.nearest(unit(2, 4), 3) == [[], []]


def test_it_grows_past_its_capacity() -> None:
    rows = unit(700, 8)
    index = HnswIndex(8, capacity=1)
    for first in range(0, 700, 7):
        index.add([key(number) for number in range(first, first + 7)], rows[first : first + 7])
    assert len(index) == 700
    assert np.array_equal(index.vectors_of([key(number) for number in range(700)]), rows)
    assert all(found[0].key == key(number) for number, found in enumerate(index.nearest(rows, 1)))


def test_a_removed_key_is_never_found_again() -> None:
    rows = unit(300, 8)
    index = filled(rows)
    assert index.remove([key(number) for number in range(0, 300, 2)]) == 150
    assert index.remove([key(0), key(999)]) == 0
    for neighbours in index.nearest(rows, 400):
        assert {each.key for each in neighbours} == {key(number) for number in range(1, 300, 2)}
    assert index.dead == 150
    with pytest.raises(KeyError):
        index.vectors_of([key(0)])


def test_a_key_added_again_has_its_new_vector_only() -> None:
    rows = unit(50, 8)
    index = filled(rows)
    other = unit(1, 8, seed=9)
    index.add([key(7)], other)
    index.add([key(7)], rows[:1])
    index.add([key(7), key(7)], np.concatenate((rows[:1], other)))
    (found,) = index.nearest(other, 100)
    assert (found[0].key, round(found[0].similarity, 5)) == (key(7), 1.0)
    assert len(found) == len({each.key for each in found}) == len(index) == 50
    assert np.array_equal(index.vectors_of([key(7)]), other)
    assert index._nodes == 50  # those replaced are hidden, not only passed over


def test_vectors_that_differ_by_a_hair_are_two() -> None:
    rows = unit(1, 8).repeat(2, axis=0)
    rows[1, 0] += 1e-5
    index = filled(rows)
    assert np.array_equal(index.vectors_of([key(0), key(1)]), rows)


def test_it_gives_what_it_reaches_when_a_graph_falls_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two far-off heaps of equal vectors with two links each: from one heap the other cannot be reached.
    rows = np.repeat(unit(2, 8), 400, axis=0)
    monkeypatch.setattr(HnswIndex, "_equal", lambda self, row: None)
    index = filled(rows, m=2)
    with pytest.raises(RuntimeError, match="contiguous"):
        index._index.knn_query(rows[:2], k=800)
    found = index.nearest(rows[[0, 400]], 800)
    assert all(0 < len(neighbours) < 800 for neighbours in found)
    assert index.ef == index._index.ef == 64
    assert len(index.nearest(rows[:1], 3)[0]) == 3


def test_heaps_of_equal_vectors_hide_nothing() -> None:
    rows = np.concatenate((np.repeat(unit(3, 8, seed=1), 500, axis=0), unit(500, 8)))
    order = np.random.default_rng(2).permutation(len(rows))
    index = HnswIndex(8)
    index.add([key(number) for number in order.tolist()], rows[order])
    assert len(index) == 2000
    assert index._index.get_current_count() < 520  # each heap is a node
    for number, neighbours in enumerate(index.nearest(rows, 4)):
        assert neighbours[0].similarity == pytest.approx(1.0, abs=1e-5)
        if number < 1500:
            assert all(each.similarity > 0.99999 for each in neighbours)
    assert len(index.nearest(rows[:1], 2000)[0]) == 2000
    assert np.array_equal(index.vectors_of([key(number) for number in range(2000)]), rows)


def test_a_heap_lives_as_long_as_one_of_its_keys() -> None:
    row, other = unit(2, 8)[:1], unit(2, 8)[1:]
    index = HnswIndex(8)
    for number, expiry in enumerate([5.0, math.inf, 7.0]):
        index.add([key(number)], row, [expiry])
    index.add([key(9)], other)
    assert {each.key for each in index.nearest(row, 3, now=5.0)[0]} == {key(1), key(2), key(9)}
    index.remove([key(0)])  # the one that was there first
    assert {each.key for each in index.nearest(row, 2)[0]} == {key(1), key(2)}
    index.add([key(1)], row, [6.0])  # the same again
    assert {each.key for each in index.nearest(row, 2)[0]} == {key(1), key(2)}
    assert index.nearest(row, 1, now=6.0)[0][0].key == key(2)
    index.remove([key(2)])
    index.add([key(1)], other)
    assert len(index.nearest(row, 1)[0]) == 1
    assert {each.key for each in index.nearest(row, 9)[0]} == {key(1), key(9)}
    assert index.remove([key(1), key(9)]) == 2
    assert index._twins.nbytes == 0
    assert index.nearest(row, 9) == [[]]
    index.add([key(3)], row)
    index.add([key(3)], row)  # replaces the only one of its node
    assert index.nearest(row, 9)[0][0].key == key(3)


def test_a_saved_heap_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = np.concatenate((np.repeat(unit(1, 8, seed=1), 10, axis=0), unit(20, 8)))
    index = filled(rows)
    index.remove([key(0), key(3)])
    used = index.save(tmp_path / "graph", tmp_path / "keys")
    loaded = HnswIndex(8)
    loaded.load(tmp_path / "graph", tmp_path / "keys", used)
    assert loaded.nearest(rows, 30) == index.nearest(rows, 30)
    assert loaded.remove([key(number) for number in range(10)]) == 8
    assert len(loaded.nearest(rows[:1], 30)[0]) == 20


def test_other_failures_of_a_search_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def knn_query(self, *args: object, **options: object) -> None:
            raise RuntimeError("something else")

    index = filled(unit(5, 4))
    monkeypatch.setattr(index, "_index", Broken())
    with pytest.raises(RuntimeError, match="something else"):
        index.nearest(unit(1, 4), 1)


def test_a_failed_insert_leaves_no_key_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = unit(8, 4)
    index = filled(rows[:5])
    real = index._index

    class Failing:
        def add_items(self, vectors: NDArray[np.float32], numbers: NDArray[np.int64], **options: int) -> None:
            real.add_items(vectors[:1], numbers[:1], **options)  # one got in
            raise MemoryError

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    monkeypatch.setattr(index, "_index", Failing())
    with pytest.raises(MemoryError):
        index.add([key(0), key(6), key(7)], rows[5:])
    monkeypatch.setattr(index, "_index", real)
    assert set(index.keys()) == {key(number) for number in range(5)}
    assert np.array_equal(index.vectors_of([key(0)]), rows[:1])
    assert {each.key for each in index.nearest(rows[5:6], 5)[0]} <= set(index.keys())
    index.add([key(6)], rows[6:7])
    assert index.nearest(rows[6:7], 1)[0][0].key == key(6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0])
def test_a_bad_vector_is_refused_and_nothing_changes(bad: float) -> None:
    rows = unit(3, 4)
    index = filled(rows[:1])
    rows[2] = bad
    with pytest.raises(ValueError, match="norm 1"):
        index.add([key(0), key(1), key(2)], rows)
    assert list(index.keys()) == [key(0)]
    assert index.dead == 0
    assert index.nearest(rows[:1], 3)[0][0].similarity == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"\(n, 4\)"):
        index.add([key(1)], unit(1, 5))
    with pytest.raises(ValueError, match=r"\(n, 4\)"):
        index.nearest(unit(1, 5), 1)


def test_expired_ones_are_left_out_however_many_stand_in_front() -> None:
    rows = unit(300, 8)
    order = np.argsort(-(rows @ rows[0]))
    index = HnswIndex(8)
    expires_at = np.full(300, math.inf)
    expires_at[order[:290]] = 10.0
    index.add([key(number) for number in range(300)], rows, expires_at.tolist())
    (found,) = index.nearest(rows[:1], 3, now=10.0)
    assert [each.key for each in found] == [key(number) for number in order[290:293].tolist()]
    assert len(index.nearest(rows[:1], 30, now=10.0)[0]) == 10
    assert index.nearest(rows[:1], 1, now=9.0)[0][0].key == key(0)


def test_a_search_among_expired_ones_does_not_walk_through_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = unit(3000, 4)
    index = HnswIndex(4)
    index.add([key(number) for number in range(3000)], rows, [10.0] * 3000)
    widths: list[int] = []
    search = index._search

    def noted(queries: NDArray[np.float32], k: int) -> list[tuple[NDArray[np.integer], NDArray[np.float32]]]:
        widths.append(k)
        return search(queries, k)

    monkeypatch.setattr(index, "_search", noted)
    assert index.nearest(rows[:1], 3, now=10.0) == [[]]
    assert max(widths) == 1024
    assert len(index.nearest(rows[:1], 2000, now=9.0)[0]) == 2000  # as many as were asked for all the same
    live = int(np.argsort(-(rows @ rows[0]))[900])
    index.renew(key(live), math.inf)
    assert [each.key for each in index.nearest(rows[:1], 3, now=10.0)[0]] == [key(live)]


def test_pages_tell_every_live_key_once_whatever_is_removed_between() -> None:
    rows = unit(100, 4)
    index = filled(rows)
    index.remove([key(number) for number in range(30)])
    told: list[bytes] = []
    after: int | None = 0
    while after is not None:
        page = index.page(after, 16)
        assert np.array_equal(page.vectors, rows[[int.from_bytes(name, "big") for name in page.keys]])
        assert page.expires_at == [math.inf] * len(page.keys)
        told += page.keys
        after = page.after
        index.remove([key(99)])
    assert told == [key(number) for number in range(30, 99)]


def test_a_saved_index_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = unit(200, 8)
    index = filled(rows)
    index.remove([key(number) for number in range(50)])
    index.add([key(60)], unit(1, 8, seed=5), [77.0])
    used = index.save(tmp_path / "graph", tmp_path / "keys")

    loaded = HnswIndex(8, ef=99)
    loaded.load(tmp_path / "graph", tmp_path / "keys", used)
    assert set(loaded.keys()) == set(index.keys())
    assert loaded.dead == index.dead == 51
    assert loaded.ef == 99
    assert loaded.nearest(rows, 5) == index.nearest(rows, 5)
    assert loaded.expired(77.0, 5) == [key(60)]
    loaded.add([key(number) for number in range(50)], rows[:50])
    assert {found[0].key for found in loaded.nearest(rows[:50], 1)} == {key(n) for n in range(50)}


def test_an_empty_index_can_be_saved(tmp_path: Path) -> None:
    used = HnswIndex(8).save(tmp_path / "graph", tmp_path / "keys")
    loaded = HnswIndex(8)
    loaded.load(tmp_path / "graph", tmp_path / "keys", used)
    assert len(loaded) == 0
    loaded.add([key(1)], unit(1, 8))
    assert len(loaded.nearest(unit(1, 8), 3)[0]) == 1


def test_a_file_of_another_dim_or_state_is_refused(tmp_path: Path) -> None:
    used = filled(unit(20, 8)).save(tmp_path / "graph", tmp_path / "keys")
    filled(unit(20, 16)).save(tmp_path / "wide", tmp_path / "keys")
    filled(unit(10, 8)).save(tmp_path / "small", tmp_path / "other keys")
    with pytest.raises(ValueError, match="another index"):
        HnswIndex(8).load(tmp_path / "wide", tmp_path / "keys", used)
    with pytest.raises(ValueError, match="another graph"):
        HnswIndex(8).load(tmp_path / "small", tmp_path / "keys", used)
    with pytest.raises(ValueError, match="fit together"):
        HnswIndex(8).load(tmp_path / "graph", tmp_path / "keys", used - 1)


@pytest.mark.parametrize("left", [0.0, 0.001, 0.01, 0.3, 0.7, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, left: float) -> None:
    used = filled(unit(200, 8)).save(tmp_path / "graph", tmp_path / "keys")
    for name in ("graph", "keys"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: int(len(whole) * left)])
        index = HnswIndex(8)
        with pytest.raises((ValueError, EOFError)):
            index.load(tmp_path / "graph", tmp_path / "keys", used)
        assert len(index) == 0
        (tmp_path / name).write_bytes(whole)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    index = filled(unit(5, 4))
    (tmp_path / "there").mkdir()
    with pytest.raises(OSError, match="No such file"):
        index.save(tmp_path / "not there" / "graph", tmp_path / "there" / "keys")
    with pytest.raises(OSError, match="No such file"):
        HnswIndex(4).load(tmp_path / "graph", tmp_path / "keys", 5)


def test_memory_is_about_two_kilobytes_an_entry() -> None:
    index = filled(unit(1000, 384), capacity=1000)
    assert 1700 < index.nbytes / 1000 < 2200


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    with pytest.raises(ConfigurationError, match=r"asynccache\[semantic\]"):
        HnswIndex(4)
