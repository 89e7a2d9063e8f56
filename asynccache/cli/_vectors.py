"""A store's vectors, as the command line reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from asynccache._errors import ConfigurationError
from asynccache._protocols import Backend, Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from asynccache._models import VectorGroup, VectorRow

__all__ = ["Group", "groups", "pages", "readable", "usable"]

_FLOAT: Final = 4  # bytes
_TOLERANCE: Final = 1e-3  # of the norm; a float32 vector of norm 1 is within 1e-6


class Group(NamedTuple):
    """The vectors of one partition and space."""

    partition: bytes
    space: bytes
    size: int
    dim: int

    @property
    def place(self) -> tuple[bytes, bytes]:
        """Partition and space."""
        return self.partition, self.space

    def __str__(self) -> str:
        return f"{self.partition.hex()[:8]} {self.space.hex()[:8]}"


def readable(backend: Backend) -> Vectors:
    """The backend, as one whose vectors can be read.

    Raises:
        ConfigurationError: it keeps none, or does not show them.
    """
    if not isinstance(backend, Vectors):
        raise ConfigurationError(f"the {type(backend).__name__} does not show the vectors it keeps")
    return backend


async def groups(backend: Vectors) -> list[Group]:
    """Every group that holds a vector, the largest first."""
    found = [await _group(backend, each) for each in await backend.vector_groups()]
    return sorted((each for each in found if each is not None), key=lambda each: -each.size)


async def _group(backend: Vectors, group: VectorGroup) -> Group | None:
    async for rows in pages(backend, group.partition, group.space):
        for row in rows:
            return Group(*group, dim=len(row.vector) // _FLOAT)
    return None


async def pages(backend: Vectors, partition: bytes, space: bytes) -> AsyncIterator[list[VectorRow]]:
    """All vectors of a partition and space; expired ones may be among them."""
    after: int | None = 0
    while after is not None:
        page = await backend.vectors(partition, space, after=after)
        yield page.rows
        after = page.after


def usable(rows: Sequence[VectorRow], dim: int) -> tuple[list[VectorRow], NDArray[np.float32]]:
    """Those rows that hold a vector of this dim and norm 1, and the vectors, shape (n, dim)."""
    fit = [row for row in rows if len(row.vector) == _FLOAT * dim]
    vectors = np.frombuffer(b"".join(row.vector for row in fit), dtype="<f4").reshape(len(fit), dim)
    with np.errstate(over="ignore", invalid="ignore"):
        good = np.abs(np.linalg.norm(vectors, axis=1) - 1) <= _TOLERANCE  # False for NaN
    return [row for row, is_good in zip(fit, good, strict=True) if is_good], vectors[good].astype(np.float32)
