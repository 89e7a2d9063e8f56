"""The graph of usearch: the same promises as the graph of hnswlib."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from asynccache._errors import ConfigurationError
from asynccache._protocols import VectorIndex
from asynccache.index.usearch import UsearchIndex


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def unit(count: int, dim: int, *, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


@pytest.fixture
def rows() -> NDArray[np.float32]:
    pytest.importorskip("usearch")
    return unit(300, 8)


def filled(rows: NDArray[np.float32]) -> UsearchIndex:
    index = UsearchIndex(rows.shape[1])
    index.add([key(number) for number in range(len(rows))], rows)
    return index


def test_it_finds_what_it_holds(rows: NDArray[np.float32]) -> None:
    index = filled(rows)
    assert isinstance(index, VectorIndex)
    for number, neighbours in enumerate(index.nearest(rows, 3)):
        assert neighbours[0].key == key(number)
        for name, similarity, _ in neighbours:
            expected = float(rows[int.from_bytes(name, "big")] @ rows[number])
            assert similarity == pytest.approx(expected, abs=1e-5)
    assert index.nearest(rows[:1], 3)[0][0].key == key(0)
    assert index.nearest(rows[:0], 3) == []


def test_an_empty_index_finds_nothing(rows: NDArray[np.float32]) -> None:
    index = UsearchIndex(8)
    assert index.nearest(rows[:2], 3) == [[], []]
    index.add([key(0)], rows[:1])
    assert index.remove([key(0)]) == 1
    assert index.nearest(rows[:2], 3) == [[], []]


def test_removed_and_replaced_vectors_are_never_found_again(rows: NDArray[np.float32]) -> None:
    index = filled(rows)
    assert index.remove([key(number) for number in range(100)]) == 100
    index.add([key(200)], unit(1, 8, seed=9))
    for neighbours in index.nearest(rows, 500):
        assert {each.key for each in neighbours} <= {key(number) for number in range(100, 300)}
        assert len(neighbours) == len({each.key for each in neighbours})
    assert index.nearest(rows[200:201], 1)[0][0].similarity < 0.999
    assert index.nearest(unit(1, 8, seed=9), 1)[0][0].key == key(200)
    assert index.dead == 101


def test_a_bad_vector_is_refused_and_nothing_changes(rows: NDArray[np.float32]) -> None:
    index = filled(rows[:3])
    for bad in (math.nan, math.inf, 0.0):
        spoilt = rows[:2].copy()
        spoilt[1] = bad
        with pytest.raises(ValueError, match="norm 1"):
            index.add([key(0), key(9)], spoilt)
    assert set(index.keys()) == {key(0), key(1), key(2)}


def test_expired_ones_are_left_out(rows: NDArray[np.float32]) -> None:
    index = UsearchIndex(8)
    order = np.argsort(-(rows @ rows[0]))
    expires_at = np.full(300, math.inf)
    expires_at[order[:100]] = 10.0
    index.add([key(number) for number in range(300)], rows, expires_at.tolist())
    (found,) = index.nearest(rows[:1], 2, now=10.0)
    assert [each.key for each in found] == [key(number) for number in order[100:102].tolist()]


def test_a_saved_index_comes_back_as_it_was(tmp_path: Path, rows: NDArray[np.float32]) -> None:
    index = filled(rows)
    index.remove([key(0)])
    used = index.save(tmp_path / "graph", tmp_path / "keys")
    loaded = UsearchIndex(8, ef=99)
    loaded.load(tmp_path / "graph", tmp_path / "keys", used)
    assert loaded.ef == 99
    assert set(loaded.keys()) == set(index.keys())
    assert loaded.nearest(rows, 1) == index.nearest(rows, 1)
    with pytest.raises(ValueError, match="another index"):
        UsearchIndex(4).load(tmp_path / "graph", tmp_path / "keys", used)
    whole = (tmp_path / "graph").read_bytes()
    (tmp_path / "graph").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not whole"):
        UsearchIndex(8).load(tmp_path / "graph", tmp_path / "keys", used)


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch", None)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(ConfigurationError, match=r"asynccache\[usearch\]"):
        UsearchIndex(4)
