"""Several processes that ask the same at the same time: the upstream is asked once."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from asynccache.server.standin import StandIn
from asynccache.testing.redis_servers import RedisCluster, RedisServer

pytestmark = pytest.mark.anyio

ASKER = Path(__file__).with_name("_asker.py")
TIMES = 200


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Asker:
    """One process, and what it says."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.asked = 0
        self.asks = asyncio.Event()
        self._ready = asyncio.Event()
        self.told: dict[str, Any] | None = None
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if line == b"ready\n":
                self._ready.set()
            elif line == b"asked\n":
                self.asked += 1
                self.asks.set()
            elif line.startswith(b"told "):
                self.told = json.loads(line[5:])

    async def begin(self) -> None:
        await asyncio.wait_for(self._ready.wait(), 20)
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        await self.process.stdin.drain()

    async def end(self) -> dict[str, Any]:
        await asyncio.wait_for(self._reading, 40)
        await self.process.wait()
        assert self.told is not None
        return self.told

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading


@asynccontextmanager
async def askers(backend: str, upstream: StandIn, *modes: str) -> AsyncIterator[list[Asker]]:
    async with AsyncExitStack() as stack:
        made = []
        for mode in modes:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(ASKER),
                backend,
                upstream.base_url,
                mode,
                str(TIMES),
                stdin=PIPE,
                stdout=PIPE,
            )
            made.append(Asker(process))
            stack.push_async_callback(made[-1].close)
        yield made


@pytest.fixture
def backend(request: pytest.FixtureRequest, own_prefix: str, where: str) -> str:
    server: RedisServer | RedisCluster = request.getfixturevalue(f"redis_{where}")
    return f"{server.url}?op_timeout=2&prefix={own_prefix}"


@pytest.mark.parametrize("where", ["server", "cluster"])
@pytest.mark.parametrize(
    "modes", [("fetch", "fetch"), ("stream", "stream"), ("fetch,stream", "stream,fetch")], ids=str
)
async def test_two_processes_ask_once(backend: str, modes: tuple[str, str]) -> None:
    async with (
        StandIn(latency=0.5, per_token=0.05) as upstream,
        askers(backend, upstream, *modes) as processes,
    ):
        await asyncio.gather(*(each.begin() for each in processes))
        told = [await each.end() for each in processes]
        assert upstream.stats.requests == 1
        assert sum(each.asked for each in processes) == 1
    assert [(each["errors"], each["failed"]) for each in told] == [([], {}), ([], {})]
    assert len({text for each in told for text in each["texts"]}) == 1
    assert all(sum(each["texts"].values()) == TIMES for each in told)
    assert sum(each["sources"].get("upstream", 0) for each in told) == 1


@pytest.mark.parametrize(
    ("where", "mode", "after"),
    [
        pytest.param("server", "fetch", 0.1, id="whole"),
        pytest.param("server", "stream", 0.1, id="stream, before its first word"),
        pytest.param("cluster", "stream", 0.8, id="stream, in its middle"),
    ],
)
async def test_when_the_process_that_asks_is_killed_the_others_still_finish(
    backend: str, mode: str, after: float
) -> None:
    async with (
        StandIn(latency=0.5, per_token=0.1) as upstream,
        askers(backend, upstream, mode, mode, mode) as processes,
    ):
        await asyncio.gather(*(each.begin() for each in processes))
        waits = [asyncio.ensure_future(each.asks.wait()) for each in processes]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        for each in waits:
            each.cancel()
        leader = next(each for each in processes if each.asked)
        await asyncio.sleep(after)
        leader.process.kill()
        told = [await each.end() for each in processes if each is not leader]
        assert upstream.stats.requests == 2
    assert [each["errors"] for each in told] == [[], []]
    assert len({text for each in told for text in each["texts"]}) == 1
    assert all(sum(each["texts"].values()) == TIMES for each in told)
