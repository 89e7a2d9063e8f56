"""Making snapshots of an index anew, from nothing but the store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import anyio.lowlevel

from asynccache.cli._vectors import Group, pages, usable
from asynccache.index import PartitionIndex
from asynccache.index._snapshot import Snapshots

if TYPE_CHECKING:
    from asynccache._protocols import Vectors

__all__ = ["LARGE", "Progress", "rebuild"]

LARGE: Final = 2000
"""Vectors above which an index keeps snapshots (``exact_up_to`` of ``BackendIndex``, by default)."""

_SLICE: Final = 0.1  # seconds of work between two looks at the clock, and at whether it was interrupted


class Progress:
    """A line that tells how far it has come, on a terminal only.

    Args:
        what: is being made.
        total: vectors.
    """

    def __init__(self, what: str, total: int) -> None:
        self._what: Final = what
        self._total: Final = total
        self._shown: Final = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def __call__(self, doing: str, count: int) -> None:
        """Show how many vectors have come so far."""
        if self._shown:
            done = 30 * min(count, self._total) // max(1, self._total)
            bar = "█" * done + "░" * (30 - done)
            sys.stderr.write(f"\r\x1b[K{self._what}  {bar}  {doing} {count:,} of {self._total:,}")
            sys.stderr.flush()


async def rebuild(backend: Vectors, folder: Path, group: Group, progress: Progress) -> int:
    """Put a snapshot of a group in the place of the one there may be; the number of its vectors.

    Raises:
        BackendError: the vectors could not be read.
        OSError: the snapshot could not be written.
    """
    snapshots = Snapshots(folder)
    # Before the first page: what changes from here on is told to whoever loads the snapshot.
    cursor = (await backend.vector_changes(None)).cursor
    index = PartitionIndex(group.dim, exact_up_to=LARGE)
    async for page in pages(backend, *group.place):
        rows, vectors = usable(page, group.dim)
        index.add([row.key for row in rows], vectors, [row.expires_at for row in rows])
        progress("reading", len(index))
    while index.step(_SLICE):
        progress("connecting", index.graph_size)
        await anyio.lowlevel.checkpoint()  # where an interruption gets in
    prefix = snapshots.begin(group.place)
    try:
        state = index.save_parts(prefix)
        snapshots.publish(prefix, group.place, dim=group.dim, state=state, count=len(index), cursor=cursor)
    except BaseException:
        snapshots.abandon(prefix)
        raise
    return len(index)
