"""Which library is taken, and what happens without any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from asynccache.index import _engines
from asynccache.index._engines import Partitions
from asynccache.index.hnsw import HnswIndex
from asynccache.index.usearch import UsearchIndex


def points(count: int, dim: int = 8) -> tuple[list[bytes], NDArray[np.float32]]:
    rows = np.random.default_rng(1).normal(size=(count, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [number.to_bytes(32, "big") for number in range(count)], rows


def without(monkeypatch: pytest.MonkeyPatch, *absent: str) -> None:
    monkeypatch.setattr(_engines, "find_spec", lambda name: None if name in absent else object())


def test_hnswlib_is_taken_first_and_usearch_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _engines.installed_graph() is HnswIndex
    without(monkeypatch, "hnswlib")
    assert _engines.installed_graph() is UsearchIndex


def test_without_a_library_for_graphs_every_vector_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "hnswlib", "usearch")
    index = Partitions(4).new(8)
    keys, rows = points(50)
    index.add(keys, rows)
    assert not index.step(1.0)
    assert (index.graph_size, index.tail_size) == (0, 50)
    assert index.nearest(rows[7:8], 1)[0][0].key == keys[7]


def test_a_snapshot_of_another_library_is_refused(tmp_path: Path) -> None:
    index = Partitions(4).new(8)
    keys, rows = points(50)
    index.add(keys, rows)
    while index.step(1.0):
        pass
    state = index.save_parts(tmp_path / "one")
    assert len(Partitions(4).load(tmp_path / "one", state, 8)) == 50
    with pytest.raises(ValueError, match="another library"):
        Partitions(4, graph=UsearchIndex).load(tmp_path / "one", state, 8)
    with pytest.raises(ValueError, match="another dim"):
        Partitions(4).load(tmp_path / "one", state, 9)
