"""What does an exact hit from Redis cost, and what does a memory before it spare?

Every store holds the same answers on one local server and runs in a process of its own; they take turns,
round by round. One task by itself, then 64 and 256 that ask at once. What is timed is a store's get, to the
parsed answer; ours also as the whole pipeline, from the request body on.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any, Final

import _redis_contender as contender
import _redis_peers as peers
import orjson
from _harness import Summary, Variant
from _redis_report import TASKS, Level, report
from _report import Options, conditions, options, save

from asynccache.testing.redis_servers import RedisServer

CROWDS: Final = (TASKS, 256)
_PATIENCE: Final = 120.0
"""Seconds for a process to fill its store, or for one turn."""


class Contender:
    """A variant's process; ``ready`` once it has filled its store and every answer was right."""

    def __init__(self, name: str, process: Process) -> None:
        self.name: Final = name
        self.ready = False
        self._process: Final = process

    async def said(self) -> dict[str, Any]:
        """Its next word; empty when it has ended."""
        if self._process.stdout is None:
            raise RuntimeError("started without a pipe")
        line = await asyncio.wait_for(self._process.stdout.readline(), _PATIENCE)
        word: dict[str, Any] = orjson.loads(line) if line else {}
        return word

    async def turn(self, tasks: int) -> dict[str, Any]:
        if self._process.stdin is None:
            raise RuntimeError("started without a pipe")
        self._process.stdin.write(b"%d\n" % tasks)
        if not (word := await self.said()):
            raise RuntimeError(f"the process of {self.name} has ended")
        return word


@asynccontextmanager
async def started(name: str, port: int, requests: int) -> AsyncIterator[Contender]:
    script = [contender.__file__, name, str(port), str(requests)]
    process = await asyncio.create_subprocess_exec(sys.executable, *script, stdin=PIPE, stdout=PIPE)
    each = Contender(name, process)
    try:
        word = await each.said()
        print(word.get("said", f"not timed: {name} (its process has ended)\n"), end="")
        each.ready = word.get("ready", False)
        yield each
        if process.stdin is not None:
            process.stdin.close()
        await asyncio.wait_for(process.wait(), _PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode and each.ready:
        raise RuntimeError(f"the process of {name} ended with {process.returncode}")


def able(variants: Iterable[Variant], server: RedisServer) -> Iterator[Variant]:
    """Those whose packages are installed, and that find what they need on the server."""
    for variant in variants:
        try:
            for distribution in variant.distributions:
                version(distribution)
        except PackageNotFoundError as missing:
            print(f"skipped: {variant.name} (package {missing.name} is not installed)")
            continue
        if variant.name == peers.LANGCHAIN_REDIS and server.command("COMMAND", "INFO", "JSON.GET") == [None]:
            print(f"skipped: {variant.name} (the server has no JSON.GET, which it stores by)")
            continue
        yield variant


async def measure(given: Options, server: RedisServer) -> list[Level]:
    async with AsyncExitStack() as stack:
        all_of_them = [
            await stack.enter_async_context(started(variant.name, server.port, given.requests))
            for variant in able(contender.variants(server.port), server)
        ]
        ready = [each for each in all_of_them if each.ready]
        return [await taking_turns(ready, given.rounds, tasks) for tasks in (1, *CROWDS)]


async def taking_turns(contenders: Sequence[Contender], rounds: int, tasks: int) -> Level:
    samples: dict[str, list[list[int]]] = {each.name: [] for each in contenders}
    busy: dict[str, list[float]] = {each.name: [] for each in contenders}
    missed: Counter[str] = Counter()
    for number in range(rounds):
        first = number % len(contenders)
        for each in (*contenders[first:], *contenders[:first]):
            word = await each.turn(tasks)
            samples[each.name].append(word["samples"])
            busy[each.name].append(word["cpu"])
            missed[each.name] += word["missed"]
    return Level(
        tasks,
        hits={name: Summary.of(name, taken) for name, taken in samples.items()},
        cpu={name: round(median(taken) / 1000, 2) for name, taken in busy.items()},
        missed={name: count for name, count in missed.items() if count},
    )


def version_of(server: RedisServer) -> str:
    said = server.command("INFO", "server")
    if not isinstance(said, bytes):
        raise TypeError(f"INFO was answered with {said!r}")
    return said.decode().partition("redis_version:")[2].split()[0]


def main() -> None:
    given = options(__doc__, requests=1_000, rounds=7)
    found = conditions(contender.variants(0))
    with RedisServer() as server:
        found["redis_server"] = version_of(server)
        levels = asyncio.run(measure(given, server))
    print(f"redis-server {found['redis_server']}")
    report(levels)
    if given.save:
        save(__file__, found, {"levels": [asdict(level) for level in levels]})


if __name__ == "__main__":
    main()
