"""Looking up entries: all that is looked for within one turn of the loop goes in one command a shard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asynccache._errors import BackendUnavailable, CorruptEntry
from asynccache.backends._redis_value import open_entry

if TYPE_CHECKING:
    from asynccache._models import Entry
    from asynccache.backends._redis_client import Client
    from asynccache.backends._redis_names import Shard
    from asynccache.backends._redis_positions import Positions

__all__ = ["Reads"]

MOST: Final = 256
"""Keys of one command."""
WORTH_HALVING: Final = 32
"""Keys of a shard from which on they go in two commands."""

_Look: TypeAlias = "tuple[bytes, asyncio.Future[Entry | None]]"


class Reads:
    """Gathers look-ups, and hands out what is found.

    With the values comes the shard's position, of the very same moment.

    Args:
        client: asks.
        positions: learn from what comes with the values.
        now: seconds since the epoch, which entries expire by.
        damaged: called for what is stored under a key and is not whole.
    """

    def __init__(
        self,
        client: Client,
        positions: Positions,
        *,
        now: Callable[[], float],
        damaged: Callable[[bytes, bytes], None],
    ) -> None:
        self._client: Final = client
        self._positions: Final = positions
        self._now: Final = now
        self._damaged: Final = damaged
        self._loop: asyncio.AbstractEventLoop
        self._gathered: Final[list[_Look]] = []

    def begin(self) -> None:
        """Call once in the event loop in which everything is looked up."""
        self._loop = asyncio.get_running_loop()  # a system call, which a look-up need not make
        for _, future in self._gathered:
            future.cancel()
        self._gathered.clear()

    def look(self, key: bytes) -> asyncio.Future[Entry | None]:
        """What is stored under a key; the future may be cancelled."""
        if not self._gathered:
            self._loop.call_soon(self._send)
        future: asyncio.Future[Entry | None] = self._loop.create_future()
        self._gathered.append((key, future))
        return future

    def _send(self) -> None:
        names = self._client.names
        by_shard: dict[Shard, list[_Look]] = {}
        if len(names.shards) == 1:
            by_shard[names.shards[0]] = self._gathered.copy()
        else:
            for look in self._gathered:
                by_shard.setdefault(names.of(look[0]), []).append(look)
        self._gathered.clear()
        for shard, looks in by_shard.items():
            # In two halves, if there are many: the server works on one while the other is opened here.
            size = len(looks) if len(looks) < WORTH_HALVING else min(MOST, -(-len(looks) // 2))
            for first in range(0, len(looks), size):
                self._ask(shard, looks[first : first + size])

    def _ask(self, shard: Shard, looks: Sequence[_Look]) -> None:
        asked = self._client.ask(
            shard,
            b"MGET",
            shard.sequence,
            *[shard.entry + key for key, _ in looks],
            fits=partial(_fits, len(looks)),
            now=True,
        )
        asked.add_done_callback(partial(self._arrived, shard, looks))

    def _arrived(self, shard: Shard, looks: Sequence[_Look], asked: asyncio.Future[Any]) -> None:
        error = asked.exception()
        if error is not None:
            for _, future in looks:
                if not future.done():
                    # Each its own: one error raised in many tasks would gather all their tracebacks.
                    future.set_exception(BackendUnavailable(str(error)))
                    future.exception()  # seen: of several, only one is raised
            return
        values: list[Any] = asked.result()
        self._positions.learn(shard.number, values.pop(0))
        now = self._now()
        for (key, future), value in zip(looks, values, strict=True):
            if future.done():
                continue
            if value is None:
                future.set_result(None)
                continue
            try:
                entry = open_entry(value, key)
            except CorruptEntry as corrupt:
                self._damaged(key, value)
                future.set_exception(corrupt)
                future.exception()
            else:
                future.set_result(entry if entry.expires_at > now else None)


def _fits(number: int, reply: Any) -> bool:
    """Whether it has the form of the reply. Whose each value is will be seen when it is opened."""
    if not isinstance(reply, list) or len(reply) != number + 1:
        return False
    return reply[0] is None or isinstance(reply[0], bytes)
