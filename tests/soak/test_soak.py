"""Minutes of everything at once: nothing leaks, nothing foreign is ever served."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from asynccache import AsyncCacheError, CachePipeline

pytestmark = [pytest.mark.anyio, pytest.mark.soak, pytest.mark.timeout(1200)]

SECONDS: Final = float(os.environ.get("ASYNCCACHE_SOAK_SECONDS", "300"))
WORKERS: Final = 40
QUESTIONS: Final = 3000


class Model:
    """Answers every question with the question, sometimes badly."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.calls = 0

    async def __call__(self, body: Mapping[str, Any]) -> Any:
        self.calls += 1
        await asyncio.sleep(self.chance.choice([0.0, 0.0, 0.001, 0.01]))
        asked = body["messages"][0]["content"]
        fate = self.chance.random()
        if fate < 0.03:
            raise ConnectionError("the model stumbled")
        if fate < 0.06:
            message = {"role": "assistant", "content": "cut sh"}
            return {"choices": [{"index": 0, "message": message, "finish_reason": "length"}]}
        return self._stream(asked) if body.get("stream") and fate < 0.5 else f"echo {asked}"

    async def _stream(self, asked: str) -> AsyncIterator[str]:
        yield "echo "
        for piece in asked:
            yield piece
            if self.chance.random() < 0.05:
                await asyncio.sleep(0.001)


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Open files of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def one(cache: CachePipeline, chance: random.Random, tally: dict[str, int]) -> None:
    asked = f"question {int(chance.paretovariate(0.7)) % QUESTIONS}"
    tenant = chance.choice(["a", "b", None])
    message = {"role": "user", "content": f"{asked} of {tenant}"}
    body: dict[str, Any] = {"messages": [message], "seed": chance.choice([1, 2])}
    options: dict[str, Any] = {
        "scope": {"tenant": tenant},
        "control": chance.choice([None, None, None, {"tags": [asked]}, {"no_cache": True}, {"ttl": 1}]),
    }
    expected = f"echo {message['content']}"
    if chance.random() < 0.5:
        outcome = await cache.fetch(body, **options)
        assert outcome.text in {expected, "cut sh"}
        assert not (outcome.hit and outcome.text == "cut sh")
        tally[outcome.source.value] = tally.get(outcome.source.value, 0) + 1
        return
    async with cache.stream(body, **options) as stream:
        text = ""
        async for chunk in stream:
            text += chunk.text
            if chance.random() < 0.01:
                return
        assert text in {expected, "cut sh"}
        tally[stream.source.value] = tally.get(stream.source.value, 0) + 1


async def work(cache: CachePipeline, until: float, seed: int, tally: dict[str, int]) -> None:
    chance = random.Random(seed)
    while time.monotonic() < until:
        try:
            patience = chance.choice([0.002, 5, 5, 5, 5, 5])
            await asyncio.wait_for(one(cache, chance, tally), patience)
            if chance.random() < 0.001:
                await cache.invalidate(tags=[f"question {chance.randrange(20)}"])
        except (TimeoutError, ConnectionError):
            pass
        except AsyncCacheError as error:
            tally[type(error).__name__] = tally.get(type(error).__name__, 0) + 1


async def test_nothing_leaks_and_nothing_foreign_is_served(tmp_path: Path) -> None:
    seed = int(os.environ.get("ASYNCCACHE_SOAK_SEED", str(random.randrange(2**32))))
    print(f"ASYNCCACHE_SOAK_SEED={seed}")  # noqa: T201  (to run a failure again)
    model = Model(random.Random(seed))
    url = f"sqlite:///{tmp_path}/soak.db?memory=1MB&max_bytes=4MB"
    tally: dict[str, int] = {}
    async with CachePipeline(model, backend=url, ttl=60) as cache:
        tasks_before = len(asyncio.all_tasks())
        await asyncio.gather(
            *(work(cache, time.monotonic() + SECONDS / 5, seed + n, tally) for n in range(WORKERS))
        )
        gc.collect()
        memory, files = resident(), descriptors()
        await asyncio.gather(
            *(work(cache, time.monotonic() + SECONDS, seed - n, tally) for n in range(WORKERS))
        )
        await asyncio.sleep(1.5)  # landed flights are kept for a second
        gc.collect()
        grown = resident() - memory
        told = f"{model.calls} upstream calls, memory grew by {grown / 2**20:.1f} MiB"
        print(tally, cache.stats(), told)  # noqa: T201  (what a soak is for)
        assert len(asyncio.all_tasks()) == tasks_before
        assert descriptors() <= files
        assert grown < 16 * 2**20
        assert sum(cache.stats().failed.values()) == 0
        assert cache.stats().hits > 1000
