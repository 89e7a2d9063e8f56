"""Products in pieces: the same numbers, and no piece large enough for BLAS to wake other threads."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from asynccache.index._products import products

ALONE = 2**18
"""Multiplications above which OpenBLAS uses several threads."""
ALONE_ONE = 1024 * 384
"""The same, of a matrix and a vector; it is twice that or so, by processor."""


class Noting(np.ndarray[Any, np.dtype[np.float32]]):
    """Notes how much each product multiplies: of matrices, and of a matrix and a vector."""

    pieces: ClassVar[list[int]] = []
    singles: ClassVar[list[int]] = []

    def __array_ufunc__(self, ufunc: np.ufunc, method: Any, *inputs: Any, **options: Any) -> Any:
        one, other = (np.asarray(each) for each in inputs)
        if ufunc is np.matmul:
            vector = 1 in (one.shape[-2], other.shape[-1])
            noted = self.singles if vector else self.pieces
            noted.append(one.shape[-2] * one.shape[-1] * other.shape[-1])
        return getattr(ufunc, method)(one, other, **options)


@pytest.mark.parametrize("count", [0, 1, 2, 10, 11, 64])
@pytest.mark.parametrize(
    ("size", "dim"), [(0, 4), (1, 384), (63, 384), (64, 8), (1000, 384), (1024, 1024), (800, 768), (70, 5000)]
)
def test_products_are_those_of_the_whole_in_small_pieces(
    count: int, size: int, dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    queries = random.standard_normal((count, dim), dtype=np.float32)
    rows = random.standard_normal((size, dim), dtype=np.float32)
    monkeypatch.setattr(Noting, "pieces", [])
    monkeypatch.setattr(Noting, "singles", [])
    made = products(queries, rows.view(Noting))
    assert made.shape == (count, size)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, queries.astype(np.float64) @ rows.T, atol=1e-3)
    assert max(Noting.pieces, default=0) <= ALONE
    assert max(Noting.singles, default=0) <= ALONE_ONE
    assert bool(Noting.pieces) == (count > 1 and dim <= ALONE // 64 // 2)
