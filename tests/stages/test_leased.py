"""One upstream call for all processes that ask the same at the same time."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from asynccache import CachePipeline, ConfigurationError, Source
from asynccache.stages import Leased
from asynccache.testing import FakeUpstream
from tests.stages._fake_flights import ASKED, FakeFlights, pipeline, read, settle, until

pytestmark = pytest.mark.anyio

ANSWER = "one two three four five"


async def ask_together(processes: int, modes: list[str], upstream: FakeUpstream) -> list[tuple[str, Source]]:
    """100 requests in each process, of the modes in turn, while the upstream is held."""
    store = FakeFlights()
    upstream.hold()
    async with AsyncExitStack() as stack:
        caches = [
            await stack.enter_async_context(pipeline(upstream, store.process())) for _ in range(processes)
        ]
        asking = asyncio.gather(*(read(cache, modes[i % len(modes)]) for i in range(100) for cache in caches))
        await upstream.called()
        await settle()
        upstream.release()
        answers = await asking
    assert store.ends == ["whole"]
    return answers


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize(
    "modes", [["fetch"], ["stream"], ["fetch", "stream"], ["stream", "fetch"]], ids="-".join
)
async def test_all_processes_together_ask_once(processes: int, modes: list[str]) -> None:
    upstream = FakeUpstream(ANSWER)
    answers = await ask_together(processes, modes, upstream)
    assert len(upstream.calls) == 1
    assert {text for text, _ in answers} == {ANSWER}
    assert [source for _, source in answers].count(Source.UPSTREAM) == 1
    assert [source for _, source in answers].count(Source.SHARED) == 100 * processes - 1


@pytest.mark.parametrize("leading", ["fetch", "stream"])
@pytest.mark.parametrize("following", ["fetch", "stream"])
async def test_each_mode_follows_each(leading: str, following: str) -> None:
    upstream, store = FakeUpstream(ANSWER), FakeFlights()
    upstream.hold()
    async with pipeline(upstream, store.process()) as one, pipeline(upstream, store.process()) as two:
        first = asyncio.create_task(read(one, leading))
        await upstream.called()
        second = asyncio.create_task(read(two, following))
        await settle()
        upstream.release()
        assert await first == (ANSWER, Source.UPSTREAM)
        assert await second == (ANSWER, Source.SHARED)
        assert len(upstream.calls) == 1
        # The answer of another process is not stored here as one's own.
        store.clock.advance(2)
        assert (await read(one, following))[1] is Source.EXACT
        assert (await read(two, following))[1] is Source.UPSTREAM


@pytest.mark.parametrize("mode", ["fetch", "stream"])
async def test_who_comes_a_moment_too_late_has_the_answer_that_was_just_stored(mode: str) -> None:
    upstream, store = FakeUpstream(ANSWER), FakeFlights()
    async with pipeline(upstream, store.process()) as one, pipeline(upstream, store.process()) as two:
        await read(one, mode)
        await until(lambda: store.ends == ["whole"])
        assert await read(two, mode) == (ANSWER, Source.SHARED)
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("control", [{"ttl": 0}, {"max_age": 0}])
@pytest.mark.parametrize("mode", ["fetch", "stream"])
async def test_an_answer_that_is_over_is_not_given_to_who_wants_a_fresh_one(
    mode: str, control: dict[str, Any]
) -> None:
    upstream, store = FakeUpstream(ANSWER, "fresh"), FakeFlights()
    async with pipeline(upstream, store.process()) as one, pipeline(upstream, store.process()) as two:
        await read(one, mode, control=control)
        await until(lambda: store.ends in (["whole"], ["passed"]))
        assert await read(two, mode, control=control) == ("fresh", Source.UPSTREAM)


async def test_an_answer_that_is_not_to_be_stored_is_shared_with_those_who_wait() -> None:
    upstream, store = FakeUpstream(ANSWER), FakeFlights()
    upstream.hold()
    async with pipeline(upstream, store.process()) as one, pipeline(upstream, store.process()) as two:
        both = asyncio.gather(*(read(cache, control={"ttl": 0}) for cache in (one, two)))
        await upstream.called()
        await settle()
        upstream.release()
        assert {text for text, _ in await both} == {ANSWER}
    assert store.ends == ["passed"]
    assert len(upstream.calls) == 1


async def test_a_follower_gets_a_stream_as_it_arrives() -> None:
    upstream, store = FakeUpstream(ANSWER), FakeFlights()
    async with pipeline(upstream, store.process()) as one, pipeline(upstream, store.process()) as two:
        async with one.stream(model="m", messages=ASKED) as leading:
            await anext(leading)
            upstream.hold()
            async with two.stream(model="m", messages=ASKED) as following:
                text = (await anext(following)).text
                upstream.release()
                text += "".join([chunk.text async for chunk in following])
        assert text == ANSWER
        assert following.source is Source.SHARED
    assert len(upstream.calls) == 1


async def test_a_stream_and_its_follower_get_the_same_frames() -> None:
    upstream, store = FakeUpstream(ANSWER), FakeFlights()

    async def frames(cache: CachePipeline) -> list[bytes]:
        async with cache.stream(model="m", messages=ASKED) as stream:
            return [chunk.body async for chunk in stream]

    upstream.hold()
    async with pipeline(upstream, store.process()) as one, pipeline(upstream, store.process()) as two:
        both = asyncio.gather(frames(one), frames(two))
        await upstream.called()
        await settle()
        upstream.release()
        led, followed = await both
    assert led == followed
    assert len(led) > 5


@pytest.mark.parametrize("leading", ["fetch", "stream"])
async def test_a_long_answer_is_shared_too(leading: str) -> None:
    words = " ".join(["word"] * 3000)
    upstream, store = FakeUpstream(words), FakeFlights()
    upstream.hold()
    async with pipeline(upstream, store.process()) as one, pipeline(upstream, store.process()) as two:
        both = asyncio.create_task(read(one, leading)), asyncio.create_task(read(two, "fetch"))
        await upstream.called()
        await settle()
        upstream.release()
        assert [(await task)[0] for task in both] == [words] * 2
    assert len(upstream.calls) == 1


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({}, {"temperature": 0.5}),
        ({}, {"control": {"ttl": 5}}),
        ({}, {"control": {"tags": ("a",)}}),
        ({"control": {"tags": ("a", "b")}}, {"control": {"tags": ("a,b",)}}),
        ({}, {"scope": {"tenant": "t"}}),
        ({}, {"stream_options": {"include_usage": True}}),
    ],
)
async def test_what_differs_is_not_shared(one: dict[str, Any], two: dict[str, Any]) -> None:
    upstream, store = FakeUpstream(), FakeFlights()
    upstream.hold()
    async with pipeline(upstream, store.process()) as a, pipeline(upstream, store.process()) as b:
        both = asyncio.gather(read(a, **one), read(b, **two))
        await upstream.called(2)
        upstream.release()
        await both
    assert len(store.flights) == 2


async def test_spellings_of_one_ttl_are_shared() -> None:
    upstream, store = FakeUpstream(), FakeFlights()
    upstream.hold()
    async with pipeline(upstream, store.process()) as a, pipeline(upstream, store.process()) as b:
        both = asyncio.gather(read(a, control={"ttl": 5}), read(b, control={"ttl": 5.0}))
        await upstream.called()
        await settle()
        upstream.release()
        await both
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("control", [{"no_cache": True}, {"no_store": True}])
async def test_what_flies_alone_tells_nobody(control: dict[str, Any]) -> None:
    upstream, store = FakeUpstream(), FakeFlights()
    async with pipeline(upstream, store.process()) as cache:
        assert (await read(cache, control=control))[1] is Source.UPSTREAM
    assert store.flights == {}


async def test_a_backend_that_has_no_flights_just_asks() -> None:
    upstream = FakeUpstream()
    async with pipeline(upstream, object()) as one, pipeline(upstream, object()) as two:
        assert {await read(one), await read(two)} == {
            ("answer 1", Source.UPSTREAM),
            ("answer 2", Source.UPSTREAM),
        }


async def test_the_lease_is_held_for_as_long_as_the_call_lasts() -> None:
    upstream, store = FakeUpstream("late"), FakeFlights()
    process = store.process()
    upstream.hold()
    async with pipeline(upstream, process, lease=0.06) as one, pipeline(upstream, store.process()) as two:
        both = asyncio.gather(read(one, "fetch"), read(two, "fetch"))
        await upstream.called()
        for _ in range(5):
            renewed = process.calls.count("renew")
            await until(lambda: process.calls.count("renew") > renewed)  # noqa: B023  (awaited here)
            await settle()
            store.clock.advance(0.05)
        upstream.release()
        assert {text for text, _ in await both} == {"late"}
    assert len(upstream.calls) == 1
    assert store.clock.monotonic() > 0.06 * 3


async def test_nothing_is_renewed_after_the_end() -> None:
    upstream, store = FakeUpstream(), FakeFlights()
    process = store.process()
    async with pipeline(upstream, process, lease=0.03) as cache:
        await read(cache)
        await until(lambda: store.ends == ["whole"])
        said = len(process.calls)
        await asyncio.sleep(0.1)
        assert len(process.calls) == said


async def test_a_log_is_looked_at_no_more_often_than_every_50_ms() -> None:
    upstream, store = FakeUpstream(" ".join("abcdefghijklmnopqrst")), FakeFlights()
    following = store.process()
    upstream.hold()
    async with pipeline(upstream, store.process()) as one, pipeline(upstream, following) as two:
        both = asyncio.gather(read(one), read(two))
        await upstream.called()
        started = asyncio.get_running_loop().time()
        for _ in range(40):
            store.move()
            await asyncio.sleep(0.005)
        upstream.release()
        await both
        took = asyncio.get_running_loop().time() - started
    assert following.calls.count("log") <= took / 0.05 + 2


async def test_closing_gives_the_lead_back() -> None:
    upstream, store = FakeUpstream(), FakeFlights()
    upstream.hold()
    cache = pipeline(upstream, store.process(), abandoned="close")
    async with cache:
        asking = asyncio.create_task(read(cache))
        await upstream.called()
        asking.cancel()
    assert store.led == []
    assert store.ends == ["failed"]


@pytest.mark.parametrize("option", ["lease", "patience"])
@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), "5"])
def test_a_time_that_cannot_work_is_refused(option: str, seconds: Any) -> None:
    options = {option: seconds}
    with pytest.raises(ConfigurationError, match=option):
        Leased(flights=None, **options)
