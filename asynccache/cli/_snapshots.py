"""Snapshots of an index on disk, as the command line sees them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from asynccache.index._snapshot import Refused, Snapshot, Snapshots

if TYPE_CHECKING:
    from asynccache.cli._vectors import Group

__all__ = ["Damaged", "Kept", "kept"]


class Kept(NamedTuple):
    """A snapshot, every byte of it checked."""

    snapshot: Snapshot
    size: int
    """Bytes on disk."""
    age: float
    """Seconds since it was saved."""


class Damaged(NamedTuple):
    """A snapshot that an index passes over."""

    reason: str


def kept(folder: Path | None, group: Group) -> Kept | Damaged | None:
    """The snapshot of a group; None when none was saved."""
    if folder is None:
        return None
    try:
        snapshot = Snapshots(folder).find(group.place, group.dim)
    except Refused as error:
        return Damaged(str(error))
    if snapshot is None:
        return None
    files = [path.stat() for path in snapshot.prefix.parent.iterdir()]
    saved = max((file.st_mtime for file in files), default=0.0)
    return Kept(snapshot, sum(file.st_size for file in files), max(0.0, time.time() - saved))
