"""Looking up entries: all that is looked for within one turn of the loop goes in one command a shard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asynccache._errors import BackendUnavailable, CorruptEntry
from asynccache.backends._redis_value import GENERATION, open_entry

if TYPE_CHECKING:
    from asynccache._models import Entry
    from asynccache.backends._redis_client import Client
    from asynccache.backends._redis_names import Shard

__all__ = ["Reads"]

MOST: Final = 256
"""Keys of one command."""

_Look: TypeAlias = "tuple[bytes, asyncio.Future[Entry | None]]"


class Reads:
    """Gathers look-ups, and hands out what is found.

    With the values comes the number of the shard's last change, of the very same moment.

    Args:
        client: asks.
        positions: by shard, the numbers; raised here.
        now: seconds since the epoch, which entries expire by.
        damaged: called for what is stored under a key and is not whole.
    """

    def __init__(
        self,
        client: Client,
        positions: list[int],
        *,
        now: Callable[[], float],
        damaged: Callable[[bytes, bytes], None],
    ) -> None:
        self._client: Final = client
        self._positions: Final = positions
        self._now: Final = now
        self._damaged: Final = damaged
        self._of: Final = client.names.of
        self._loop: asyncio.AbstractEventLoop
        self._gathered: Final[dict[Shard, list[_Look]]] = {}

    def look(self, key: bytes) -> asyncio.Future[Entry | None]:
        """What is stored under a key; the future may be cancelled."""
        if not self._gathered:
            # Once a turn of the loop: asking which one runs is a system call.
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._send)
        future: asyncio.Future[Entry | None] = self._loop.create_future()
        shard = self._of(key)
        looks = self._gathered.get(shard)
        if looks is None:
            looks = self._gathered[shard] = []
        looks.append((key, future))
        return future

    def _send(self) -> None:
        for shard, looks in self._gathered.items():
            for first in range(0, len(looks), MOST):
                some = looks[first : first + MOST]
                keys = [key for key, _ in some]
                asked = self._client.ask(
                    shard,
                    b"MGET",
                    shard.sequence,
                    *[shard.entry + key for key in keys],
                    fits=partial(_fits, len(keys)),
                )
                asked.add_done_callback(partial(self._arrived, shard, some))
        self._gathered.clear()

    def _arrived(self, shard: Shard, looks: Sequence[_Look], asked: asyncio.Future[Any]) -> None:
        error = asked.exception()
        if error is not None:
            for _, future in looks:
                if not future.done():
                    # Each its own: one error raised in many tasks would gather all their tracebacks.
                    future.set_exception(BackendUnavailable(str(error)))
                    future.exception()  # seen: of several, only one is raised
            return
        number, *values = asked.result()
        if number is not None:
            self._positions[shard.number] = max(self._positions[shard.number], int(number))
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
    position, *values = reply
    if position is not None and not _is_number(position):
        return False
    return all(value is None or isinstance(value, bytes) for value in values)


def _is_number(told: object) -> bool:
    return isinstance(told, bytes) and told.isdigit() and len(told) <= GENERATION
