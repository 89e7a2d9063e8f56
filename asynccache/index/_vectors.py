"""What an index lets in: one bad vector would come first in every later search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["checked", "checked_expiries", "checked_keys"]

_NORM_TOLERANCE: Final = 1e-3  # far above what float32 (or a trip through float16) loses, far below a mistake
_KEY_BYTES: Final = 32


def checked(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """The vectors as a contiguous float32 array, shape (n, dim).

    Raises:
        ValueError: another shape, a value that is not finite, or a row whose norm is not 1.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != dim:  # noqa: PLR2004  (rows and columns)
        raise ValueError(f"expected vectors of shape (n, {dim}), got {np.shape(vectors)}")
    # Written so that a NaN fails it; a square beyond float32 is infinite and fails it too.
    if len(rows) == 1:  # a lone search, of which the other way would be a tenth
        sound = abs(float(np.vdot(rows, rows)) - 1.0) <= 2 * _NORM_TOLERANCE
    else:
        squares = np.einsum("ij,ij->i", rows, rows)
        sound = bool((np.abs(squares - 1.0) <= 2 * _NORM_TOLERANCE).all())
    if not sound:
        raise ValueError("expected finite vectors of norm 1")
    return rows


def checked_keys(keys: Sequence[bytes], count: int) -> None:
    """Refuse keys that do not fit their vectors.

    Raises:
        ValueError: not as many keys as vectors, or a key that is not 32 bytes.
    """
    if len(keys) != count:
        raise ValueError(f"expected a key for each vector, got {len(keys)} keys and {count} vectors")
    if not all(isinstance(key, bytes) and len(key) == _KEY_BYTES for key in keys):
        raise ValueError(f"expected keys of {_KEY_BYTES} bytes")


def checked_expiries(expires_at: Sequence[float] | None, count: int) -> Sequence[float]:
    """When each vector expires, in seconds since the epoch; never, when None is given.

    Raises:
        ValueError: not as many as vectors, or one that is no time at all.
    """
    if expires_at is None:
        return [math.inf] * count
    if len(expires_at) != count:
        raise ValueError(f"expected an expiry for each vector, got {len(expires_at)} for {count} vectors")
    if not all(expiry > -math.inf for expiry in expires_at):
        raise ValueError("expected seconds since the epoch, or infinity")
    return expires_at
