"""A file that is written in memory first.

hnswlib writes a graph in one call and lets nothing else in the process run meanwhile. Into memory that
takes an eighth of the time it takes on a disk (54 and 450 ms for 168 MB, measured), and no time that
depends on the disk. From there Python writes it to the disk, which holds nobody up, and notices when the
disk is full.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["Memory", "in_memory"]

MOST: Final = 512 * 2**20
"""Bytes of a graph above which it goes to the disk directly: for a moment there are two of it."""

_CHUNK: Final = 2**20  # bytes copied at a time


class Memory:
    """Bytes in a file without a name. They are gone with this object, at the latest with the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        """Let go of the bytes."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()  # who asked for it may have been cancelled before it came

    def copy_to(self, path: Path) -> None:
        """Write a new file with mode 0600; none when there is nothing to write. Raises OSError."""
        if self._descriptor is None or not os.fstat(self._descriptor).st_size:
            return
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(target, "wb", buffering=0) as file:
            at = 0
            while chunk := os.pread(self._descriptor, _CHUNK, at):
                at += file.write(chunk)


@contextmanager
def in_memory(path: Path, expected: int) -> Iterator[Memory | None]:
    """Have what is written to ``path`` go to memory; None where that is not possible or too much.

    ``path`` must not exist, and does not afterwards.
    """
    memory = _linked(path) if expected <= MOST else None
    try:
        yield memory
    finally:
        # While the descriptor is open: its number may be another file's as soon as it is not.
        if memory is not None:
            path.unlink()


def _linked(path: Path) -> Memory | None:
    if sys.platform != "linux":
        return None
    with suppress(OSError):
        descriptor = os.memfd_create("asynccache-snapshot")
        memory = Memory(descriptor)
        path.symlink_to(f"/proc/self/fd/{descriptor}")
        if path.exists():  # /proc may not be there
            return memory
        path.unlink()
    return None
