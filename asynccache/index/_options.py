"""What the owner of an index has decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from anyio import CapacityLimiter

    from asynccache._protocols import Clock
    from asynccache.index._snapshot import Snapshots

__all__ = ["Options"]


class Options(NamedTuple):
    """See ``BackendIndex``."""

    snapshots: Snapshots | None
    exact_up_to: int
    max_bytes: int
    poll: float
    snapshot_every: int
    clock: Clock
    threads: CapacityLimiter
    """For what waits for disks. Our own: all of the default limiter's threads may wait for this cache."""
