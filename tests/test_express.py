"""The short way gives what the long way gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache import CachePipeline, InvalidRequest, NotCached, Outcome, Stage
from asynccache.backends import MemoryBackend
from asynccache.stages import ExactLookup, MissHandler, Normalize, SingleFlight, Validate, Write
from asynccache.testing import FakeClock, FakeUpstream

pytestmark = pytest.mark.anyio

CONTROLS = st.sampled_from(
    [None, None, {}, {"max_age": 5}, {"no_cache": True}, {"no_store": True}, {"ttl": 3}, {"version": "2"}]
)
ASKS = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from([{}, {"seed": 1}, {"seed": 1.0}, {"seed": None}, {"kv_transfer_params": {}}, {"n": "x"}]),
    CONTROLS,
    st.sampled_from([None, {"tenant": "t"}]),
    st.sampled_from(["fetch", "stream", "counted stream"]),
    st.sampled_from([0, 0, 1, 4, 20]),
)


@asynccontextmanager
async def both(clock: FakeClock) -> AsyncIterator[tuple[CachePipeline, CachePipeline]]:
    """The standard pipeline, and its stages alone."""
    options: dict[str, Any] = {"ttl": 20, "clock": clock, "strict": True}
    memory = MemoryBackend(clock=clock)
    flight = SingleFlight(MissHandler(FakeUpstream()), Write(memory))
    stages: list[Stage] = [Normalize(), ExactLookup(memory), Validate(), flight]
    async with (
        CachePipeline(FakeUpstream(), backend=MemoryBackend(clock=clock), decision=None, **options) as short,
        CachePipeline(stages=stages, **options) as long,
    ):
        assert short._chain.express is not None
        assert long._chain.express is None
        yield short, long


async def asked(cache: CachePipeline, ask: Any) -> tuple[Any, ...]:
    text, rest, control, scope, mode, _ = ask
    body = {"messages": [{"role": "user", "content": text}], **rest}
    outcome: Outcome
    try:
        if mode == "fetch":
            outcome = await cache.fetch(body, control=control, scope=scope)
        else:
            counted = {"stream_options": {"include_usage": True}} if mode == "counted stream" else {}
            async with cache.stream({**body, **counted}, control=control, scope=scope) as stream:
                outcome = await stream.collect()
    except (InvalidRequest, NotCached) as error:
        return type(error), str(error)
    return (
        outcome.body,
        outcome.source,
        outcome.age,
        outcome.similarity,
        outcome.reasons,
        outcome.key,
        outcome.saved,
    )


@given(st.lists(ASKS, max_size=30))
def test_the_short_way_gives_what_the_long_way_gives(asks: list[Any]) -> None:
    async def compare() -> None:
        clock = FakeClock()
        async with both(clock) as (short, long):
            for ask in asks:
                clock.advance(ask[-1])
                assert await asked(short, ask) == await asked(long, ask)
            assert short.stats() == long.stats()

    asyncio.run(compare())


async def test_a_hit_that_is_at_hand_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async with both(FakeClock()) as (short, _):
        await short.ask("q")

        async def refuse(*_: object) -> None:
            raise AssertionError("the long way was taken")

        monkeypatch.setattr(short._driver, "run", refuse)
        assert (await short.ask("q")).hit
