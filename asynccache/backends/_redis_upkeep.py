"""Looking after a store in Redis whose server has no memory left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from asynccache._errors import BackendError
from asynccache._lifespan import Nursery
from asynccache.backends._redis_lua import FEED_LENGTH
from asynccache.backends._redis_scripts import TIDY

if TYPE_CHECKING:
    from asynccache.backends._redis_client import Client
    from asynccache.backends._redis_names import Shard

__all__ = ["Upkeep"]

PIECE: Final = 500
"""Entries looked at in one step: a millisecond of the server."""
ROUNDS: Final = 1000
ENOUGH: Final = 0.05
"""Share of those looked at that had gone, below which it is no use to go on."""


class Upkeep:
    """Takes out of the lists what the server has let go of by itself.

    Whoever stores something looks after a few others. On a server whose memory is full nothing is stored any
    more: then somebody must begin.

    Args:
        client: asks.
        nursery: where it is done.
    """

    def __init__(self, client: Client, nursery: Nursery) -> None:
        self._client: Final = client
        self._nursery: Final = nursery
        self._busy: Final[set[int]] = set()  # shards that are being looked after

    def no_memory(self, shard: Shard) -> None:
        """The server of a shard has refused to store something."""
        if shard.number not in self._busy and self._client.open:
            self._busy.add(shard.number)
            self._nursery.start(lambda: self._tidy(shard))

    async def _tidy(self, shard: Shard) -> None:
        length = b"%d" % (FEED_LENGTH // len(self._client.names.shards))
        try:
            for _ in range(ROUNDS):
                _, gone, seen = await self._client.change(TIDY, shard, length, b"%d" % PIECE)
                if gone < ENOUGH * seen or not seen:
                    break
                await asyncio.sleep(0)
        except BackendError:
            pass  # the next one that is refused begins anew
        finally:
            self._busy.discard(shard.number)
