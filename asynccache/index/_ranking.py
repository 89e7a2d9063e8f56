"""The order of what was found."""

from __future__ import annotations

from collections.abc import Iterable

from asynccache._models import Neighbour

__all__ = ["neighbour", "ranked"]


def neighbour(key: bytes, similarity: float) -> Neighbour:
    """What was found, its cosine kept within -1 and 1, which float32 oversteps by a hair."""
    return Neighbour(key, max(-1.0, min(1.0, similarity)))


def ranked(found: Iterable[Neighbour]) -> list[Neighbour]:
    """Best first; of equals the lower key, so that the order is always the same."""
    return sorted(found, key=_rank)


def _rank(found: Neighbour) -> tuple[float, bytes]:
    return -found.similarity, found.key
