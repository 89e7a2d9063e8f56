"""What an index has lived through."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counts"]


@dataclass(slots=True)
class Counts:
    """Events since the index was made. The event loop's."""

    loads: int = 0
    """Partitions read from the store."""
    load_failures: int = 0
    snapshots_saved: int = 0
    snapshots_loaded: int = 0
    snapshots_refused: int = 0
    """Found, and not trusted or too old."""
    snapshot_failures: int = 0
    """Not saved: a full disk, a folder that cannot be written."""
    dropped: int = 0
    """Partitions let go of for room."""
    overflows: int = 0
    """Partitions let go of because more was learnt than could be taken up."""
    gaps: int = 0
    """Times the store could not say any more what had changed."""
    follow_failures: int = 0
    """Reads of changes that failed; each is tried again."""
    broken: int = 0
    """Engines that failed, and deaths of the index thread."""
