"""What things are called in Redis.

A store is divided into shards by the first bytes of the keys. All that belongs to one shard has its hash
tag in the name and so lies in one slot: a script can change an entry, its tags and the feed in one step, on
a cluster as on a single server.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from hashlib import sha256
from typing import Final

from asynccache._errors import ConfigurationError

__all__ = ["Names", "Shard", "tag_digest"]

MOST_SHARDS: Final = 256
LAYOUT: Final = 1
"""Of all that is stored: releases that differ in it share nothing."""


class Shard:
    """The names of one shard.

    Args:
        base: what all of them begin with.
        number: from 0.
    """

    __slots__ = ("base", "entry", "feed", "number", "sequence")

    def __init__(self, base: bytes, number: int) -> None:
        self.number: Final = number
        self.base: Final = base
        self.entry: Final = base + b"e:"
        """Before a key: the name of its entry."""
        self.sequence: Final = base + b"seq"
        """Number of the last change; the key by which scripts are sent to the shard's server."""
        self.feed: Final = base + b"feed"


class Names:
    """The names of one store.

    Args:
        prefix: tells stores on one server apart.
        shards: how many, 1 to 256. Processes that differ in it share nothing.

    Raises:
        ConfigurationError: one of them cannot work.
    """

    def __init__(self, prefix: str, shards: int) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.:/-]{1,100}", prefix):
            raise ConfigurationError(
                f"prefix={prefix!r}: expected 1 to 100 letters, digits and any of '_.:/-'"
            )
        if not isinstance(shards, int) or not 1 <= shards <= MOST_SHARDS:
            raise ConfigurationError(f"shards={shards!r}: expected 1 to {MOST_SHARDS}")
        base = b"%s:v%d:%d:" % (prefix.encode(), LAYOUT, shards)
        self.shards: Final = tuple(Shard(b"%s{%d}:" % (base, number), number) for number in range(shards))
        self.channel: Final = base + b"news"
        """Where changes are announced, as a mere hint to look."""

    def of(self, key: bytes) -> Shard:
        """The shard of a key, or of a flight."""
        if len(self.shards) == 1:
            return self.shards[0]
        return self.shards[int.from_bytes(key[:2], "big") % len(self.shards)]


def tag_digest(tags: Collection[str]) -> list[bytes]:
    """What stands for tags in names: of one length, and without their words."""
    return [sha256(tag.encode()).digest() for tag in dict.fromkeys(tags)]
