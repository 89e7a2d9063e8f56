"""A store that writes down how long look-ups take, and what asks it and waits for it."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import islice, takewhile
from typing import Any, Final, NamedTuple

from asynccache._errors import BackendError
from asynccache._models import Entry
from asynccache._url import BackendURL
from asynccache.backends import RedisBackend
from asynccache.backends._redis_url import redis_options
from asynccache.testing import FaultProxy
from asynccache.testing.entries import make_embedding, make_entry, make_label
from asynccache.testing.redis_servers import RedisServer, ReplyError

DEADLINE: Final = 0.1
BEAT: Final = 0.004


class Lookup(NamedTuple):
    """One ``get`` of a store."""

    began: float
    ended: float
    shard: int
    found: bool
    error: str | None


class Watched(RedisBackend):
    """A store that writes down every ``get``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lookups: list[Lookup] = []

    async def get(self, key: bytes) -> Entry | None:
        began, found, trouble = time.monotonic(), None, None
        try:
            found = await super().get(key)
        except BaseException as error:
            trouble = type(error).__name__
            raise
        finally:
            shard = self._client.names.of(key).number
            self.lookups.append(Lookup(began, time.monotonic(), shard, found is not None, trouble))
        return found

    @property
    def node(self) -> Any:
        """The one there is, of a single server."""
        return self._topology.nodes()[0]


def options_of(url: str, **more: Any) -> dict[str, Any]:
    """The arguments of a store that a URL stands for, and some others."""
    return {**redis_options(BackendURL.parse(url)), **more}


class Heartbeat:
    """Measures how late the event loop is, whoever makes it so."""

    def __init__(self) -> None:
        self._beats: list[tuple[float, float]] = []  # when it was due, and when it came

    async def beat(self) -> None:
        """Beat until cancelled."""
        while True:
            due = time.monotonic() + BEAT
            await asyncio.sleep(BEAT)
            self._beats.append((due, time.monotonic()))

    def lag(self, began: float, ended: float) -> float:
        """Seconds of a span of time in which the loop stood still: a busy machine may stop it twice."""
        first = bisect_left(self._beats, began, key=lambda beat: beat[1])
        overlapping = takewhile(lambda beat: beat[0] <= ended, islice(self._beats, first, None))
        late = [min(came, ended) - max(due, began) for due, came in overlapping]
        return sum(each for each in late if each > BEAT)


async def no_task_is_left(before: set[asyncio.Task[Any]]) -> None:
    """Fail when tasks are there that were not there before; a proxy's end a little after its clients."""
    left: set[asyncio.Task[Any]] = set()
    for _ in range(50):
        await asyncio.sleep(0.01)
        left = asyncio.all_tasks() - before
        if not left:
            return
    raise AssertionError(left)


async def no_connection_is_left(*servers: RedisServer, seconds: float = 2.0) -> None:
    """Fail when servers that answer have clients of ours; they notice an end a little later."""
    until_ = time.monotonic() + seconds
    left: list[bytes] = []
    while time.monotonic() < until_:
        left = [line for server in servers for line in await asyncio.to_thread(_clients, server)]
        if not left:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(left)


def _clients(server: RedisServer) -> list[bytes]:
    if not server.running:
        return []
    listed = server.command("CLIENT", "LIST")
    assert isinstance(listed, bytes)
    return [line for line in listed.splitlines() if b" name=asynccache " in line]


async def until(check: Callable[[], Any], seconds: float) -> Any:
    """The first true result of a check that is made again and again; fail when there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := check():
            return result
        await asyncio.sleep(0.005)
    raise AssertionError(f"not within {seconds} s")


async def soon(check: Callable[[], bool], seconds: float) -> float:
    """As ``until``, for a check that blocks; when it was true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if await asyncio.to_thread(check):
                return time.monotonic()
        except (OSError, ReplyError, LookupError):
            pass
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def entry(number: int = 0, **fields: Any) -> Entry:
    return make_entry(number, created_at=time.time(), **fields)


@asynccontextmanager
async def opened(where: str | RedisServer | FaultProxy, **more: Any) -> AsyncIterator[Watched]:
    """A store that is open, and leaves no task behind."""
    url = where if isinstance(where, str) else f"redis://127.0.0.1:{where.port}"
    before = asyncio.all_tasks()
    store = Watched(**options_of(url, **more))
    async with store.lifespan():
        yield store
    await no_task_is_left(before)


async def timed(work: Awaitable[Any]) -> tuple[float, float, BaseException | None]:
    """Seconds that it took, those by which the loop was late meanwhile, and the error it raised."""
    heart = Heartbeat()
    beating = asyncio.ensure_future(heart.beat())
    await asyncio.sleep(0)
    error: BaseException | None = None
    began = time.monotonic()
    try:
        await work
    except BackendError as raised:
        error = raised
    ended = time.monotonic()
    await asyncio.sleep(0.005)
    beating.cancel()
    return ended - began, heart.lag(began, ended), error


async def in_time(work: Awaitable[Any], seconds: float) -> BaseException | None:
    """The error it raises; fail when that takes too long."""
    took, lag, error = await timed(work)
    assert took - lag <= seconds * 1.1, f"{took:.3f} s, with a lag of {lag:.3f} s"
    return error


Asking = Callable[[RedisBackend], Awaitable[Any]]


async def _scanned(store: RedisBackend) -> list[Entry]:
    return [each async for each in store.scan()]


ALL: Final[dict[str, Asking]] = {
    "get": lambda store: store.get(entry().key),
    "get_many": lambda store: store.get_many([entry(1).key, entry(2).key]),
    "scan": _scanned,
    "measure": lambda store: store.measure(),
    "vector_groups": lambda store: store.vector_groups(),
    "vectors": lambda store: store.vectors(entry().partition, make_embedding().space),
    "vector_changes": lambda store: store.vector_changes(None),
    "put": lambda store: store.put(entry(3)),
    "add": lambda store: store.add(entry(4)),
    "remove": lambda store: store.remove(entry(5)),
    "delete": lambda store: store.delete([entry(6).key]),
    "delete_tagged": lambda store: store.delete_tagged(["all"]),
    "clear": lambda store: store.clear(),
    "flush": lambda store: store.flush(),
    "generations": lambda store: store.generations([entry(7).key]),
    "voided": lambda store: store.voided(entry(8).key, ["all"], 0),
    "changes": lambda store: store.changes(None),
    "put_labels": lambda store: store.put_labels([make_label(at=time.time())]),
    "labels": lambda store: store.labels(0),
    "board": lambda store: store.board(entry(9).key, key=entry(9).key, tags=(), seconds=1.0),
    "renew": lambda store: store.renew(entry(9).key, 1, seconds=1.0),
    "append": lambda store: store.append(entry(9).key, 1, [b"frame"]),
    "log": lambda store: store.log(entry(9).key, 1, after=0),
}
