"""How many stored answers does one worker of the proxy serve in a second, beside litellm's proxy?

16 connections ask the same question again and again; the proxies take turns, round by round. The load comes
from wrk where it is installed, else from a client of our own, in a process of its own. Then: does a client
that asks 200 times a second notice that 500 other streams are open and somebody reads a large one slowly?
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import _proxy_servers as servers
import orjson
from _proxy_load import KEY, PATH, QUESTION, body_of
from _proxy_servers import Proxy, process
from _report import Options, options, print_table, save, verdict

from asynccache.testing.redis_servers import RedisServer

CONNECTIONS: Final = 16
RATE: Final = 200
STREAMS: Final = 500
REST: Final = 2.0
"""Seconds after which nothing is left to clear up of the streams that were closed."""
_LOAD: Final = str(Path(__file__).parent / "_proxy_load.py")
_WRK: Final = re.compile(r"figures (\d+) (\d+) (\d+) (\d+) (\d+)")

Turn = dict[str, Any]


async def by_ours(kind: str, port: int, *sizes: object) -> Turn:
    async with process(sys.executable, _LOAD, kind, str(port), *map(str, sizes)) as load:
        printed, _ = await load.communicate()
    figures: Turn = orjson.loads(printed)
    return figures


async def by_wrk(wrk: str, port: int, seconds: int, script: Path) -> Turn:
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script)]
    async with process(*command, f"http://127.0.0.1:{port}{PATH}") as load:
        printed, _ = await load.communicate()
    found = _WRK.search(printed.decode())
    if found is None:
        raise RuntimeError("wrk did not say what it measured")
    count, microseconds, wrong, p50, p99 = map(int, found.groups())
    return {"n": count, "wrong": wrong, "rate": count / microseconds * 1e6, "p50": p50, "p99": p99}


def wrk_script(folder: Path) -> Path:
    script = folder / "hits.lua"
    script.write_text(
        f"""wrk.method = "POST"
wrk.body = [==[{orjson.dumps(body_of(QUESTION)).decode()}]==]
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer {KEY}"
done = function(summary, latency, requests)
  local wrong = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format("figures %d %d %d %d %d\\n", summary.requests, summary.duration, wrong,
    latency:percentile(50), latency:percentile(99)))
end
"""
    )
    return script


async def hits(proxies: Sequence[Proxy], given: Options, folder: Path) -> dict[str, list[Turn]]:
    wrk, script = shutil.which("wrk"), wrk_script(folder)
    seconds = max(1, given.requests // 1000)
    turns: dict[str, list[Turn]] = {proxy.name: [] for proxy in proxies}
    for number in range(given.rounds):
        start = number % len(proxies)
        for proxy in (*proxies[start:], *proxies[:start]):
            if wrk is None:
                turn = await by_ours("hits", proxy.port, seconds, CONNECTIONS)
            else:
                turn = await by_wrk(wrk, proxy.port, seconds, script)
            turns[proxy.name].append(turn)
    return turns


@asynccontextmanager
async def crowded(port: int, streams: int) -> AsyncIterator[None]:
    async with process(sys.executable, _LOAD, "crowd", str(port), str(streams)) as crowd:
        assert crowd.stdout is not None
        if await asyncio.wait_for(crowd.stdout.readline(), 60) != b"open\n":
            raise RuntimeError("the streams could not be opened")
        yield
        if crowd.returncode is not None:
            raise RuntimeError("the streams did not stay open")


async def company(proxy: Proxy, given: Options) -> dict[str, list[Turn]]:
    """The client at a fixed rate, alone and in company, in turns."""
    seconds = max(1, given.requests // 1000)
    streams = min(STREAMS, max(2, given.requests // 10))
    turns: dict[str, list[Turn]] = {"alone": [], "in company": []}
    await servers.filled(proxy, large=True)
    for _ in range(given.rounds):
        await asyncio.sleep(REST)
        turns["alone"].append(await by_ours("rate", proxy.port, seconds, RATE))
        async with crowded(proxy.port, streams):
            turns["in company"].append(await by_ours("rate", proxy.port, seconds, RATE))
    return turns


async def measure(given: Options) -> dict[str, dict[str, list[Turn]]]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="asynccache-bench-")))
        port = await stack.enter_async_context(servers.upstream())
        redis = stack.enter_context(RedisServer()).port if shutil.which("redis-server") else None
        opened = [
            await stack.enter_async_context(servers.ours(store, port, folder, redis))
            for store in servers.STORES
            if redis is not None or store != "redis"
        ]
        opened += [
            await stack.enter_async_context(servers.theirs(store, port, folder, redis))
            for store in servers.PEER_STORES
            if servers.litellm() is not None and (redis is not None or store != "redis")
        ]
        for proxy in opened:
            await servers.filled(proxy)
        return {"hits": await hits(opened, given, folder), "company": await company(opened[0], given)}


def middle(turns: Sequence[Turn], name: str) -> float:
    return median(float(turn[name]) for turn in turns)


def report(figures: dict[str, dict[str, list[Turn]]]) -> None:
    rows = [
        (
            name,
            f"{sum(turn['n'] for turn in turns):,}",
            f"{middle(turns, 'rate'):,.0f}",
            f"{middle(turns, 'p50') / 1000:,.2f}",
            f"{middle(turns, 'p99') / 1000:,.2f}",
        )
        for name, turns in (*figures["hits"].items(), *figures["company"].items())
    ]
    columns = ("one worker", "n", "hits/s", "p50 ms", "p99 ms")
    asked = len(figures["hits"])
    print_table(f"stored answers, {CONNECTIONS} connections", columns, rows[:asked])
    print_table(f"one client, {RATE} a second, memory", columns, rows[asked:])
    print()
    wrong = sum(turn["wrong"] for part in figures.values() for turns in part.values() for turn in turns)
    rates = {name: middle(turns, "rate") for name, turns in figures["hits"].items()}
    for store in servers.PEER_STORES:
        peer, own = rates.get(f"litellm proxy {store}"), rates.get(f"asynccache {store}")
        if own is not None:
            claim = f"litellm's hits/s from {store}, as a share of ours, are at most a tenth"
            verdict("(a)", claim, (peer or 0.0) / own, None if peer is None else 0.1, unit="of ours")
    alone, together = (middle(figures["company"][name], "p99") for name in ("alone", "in company"))
    verdict("(b)", "p99 in company is at most 1.2 of p99 alone", together, 1.2 * alone)
    verdict("(c)", "answers that were not 200", wrong, 0, unit="answers")


def conditions() -> dict[str, Any]:
    """What the figures are measured with and under; also printed."""
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "request_bytes": len(orjson.dumps(body_of(QUESTION))),
        "answer_bytes": servers.ANSWER_BYTES,
        "generator": "wrk" if shutil.which("wrk") else "own client",
        "peers": servers.peers(),
    }
    print(", ".join(f"{name} {value}" for name, value in found.items()))
    return found


def main() -> None:
    given = options(__doc__, requests=5_000, rounds=7)
    found = conditions()
    figures = asyncio.run(measure(given))
    report(figures)
    if given.save:
        save(__file__, found, figures)


if __name__ == "__main__":
    main()
