"""The short way gives what the long way gives."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache import (
    Alias,
    CachePipeline,
    Candidate,
    Entry,
    InvalidRequest,
    NotCached,
    Outcome,
    PipelineClosed,
    Request,
    Source,
    Stage,
)
from asynccache.backends import MemoryBackend
from asynccache.stages import (
    ENTRY_CHECKS,
    ExactLookup,
    MissHandler,
    Normalize,
    SingleFlight,
    Validate,
    Write,
)
from asynccache.testing import FakeClock, FakeUpstream, make_entry

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
        assert short._express is not None
        assert long._express is None
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


class Anything(MemoryBackend):
    """Gives out whatever it was told to, as no store should."""

    held: Entry | None = None

    def at_hand(self, key: bytes) -> Entry | None:
        return self.held


@pytest.mark.parametrize("own_key", [True, False])
@pytest.mark.parametrize("alias", [None, Alias(of=b"k" * 32, similarity=0.9, space=b"s" * 16)])
@pytest.mark.parametrize("ttl", [None, 0.0, 9.9, 10.0, 10.1])
@pytest.mark.parametrize("age", [-5.0, 0.0, 10.0])
@pytest.mark.parametrize("more", [{}, {"stream_options": {"include_usage": True}}])
@pytest.mark.parametrize("own_upstream", [None, FakeUpstream()])
async def test_what_the_entry_checks_refuse_does_not_take_the_short_way(
    *,
    own_key: bool,
    alias: Alias | None,
    ttl: float | None,
    age: float,
    more: dict[str, Any],
    own_upstream: FakeUpstream | None,
) -> None:
    clock, memory = FakeClock(), Anything()
    body = {"messages": [{"role": "user", "content": "q"}], **more}
    request = Request(body=body, upstream=own_upstream)
    async with CachePipeline(
        FakeUpstream(), backend=memory, decision=None, clock=clock, strict=True
    ) as cache:
        made = await cache.fetch(request)
        key = made.key if own_key else b"f" * 32
        entry = make_entry(key=key, created_at=clock.now() - age, ttl=ttl, alias=alias)
        memory.held = entry
        candidate = Candidate(entry, Source.EXACT, max(age, 0.0))
        refused = any(check(made.request, candidate) for check in ENTRY_CHECKS)
        assert cache._express is not None
        hit = cache._express.hit("fetch", body, request.scope, upstream=own_upstream)
        assert (hit is None) == refused
        if hit is not None:
            assert (hit.request, hit.accepted) == (made.request, candidate)


def succeeds_in_a_child(act: Callable[[], None]) -> bool:
    child = os.fork()
    if not child:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_there_is_no_short_way_in_another_event_loop_thread_or_process() -> None:
    cache = CachePipeline(FakeUpstream(), backend="memory://", decision=None)
    first = asyncio.new_event_loop()
    first.run_until_complete(cache.__aenter__())
    assert not first.run_until_complete(cache.ask("q")).hit
    assert first.run_until_complete(cache.ask("q")).hit

    async def elsewhere() -> None:
        with pytest.raises(PipelineClosed, match="another event loop"):
            await cache.ask("q")

    async def in_a_thread() -> None:
        await asyncio.to_thread(asyncio.run, elsewhere())

    async def in_a_child() -> None:
        assert succeeds_in_a_child(lambda: asyncio.run(elsewhere()))

    asyncio.run(elsewhere())
    first.run_until_complete(in_a_thread())
    first.run_until_complete(in_a_child())
    first.run_until_complete(cache.__aexit__(None, None, None))
    with pytest.raises(PipelineClosed):
        first.run_until_complete(cache.ask("q"))
    first.close()
