"""What becomes of those who follow when the process that asks for all is lost, fails or may not share."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

import orjson
import pytest

from asynccache import CachePipeline, Source, StageError, UpstreamBusy, UpstreamStreamError
from asynccache.stages._lease_line import WHOLE
from asynccache.testing import FakeClock, FakeUpstream
from tests.stages._fake_flights import FakeFlights, Halting, Process, pipeline, read, settle, until

if TYPE_CHECKING:
    from asynccache.testing.upstream import Answer

pytestmark = pytest.mark.anyio

ANSWER = "one two three four five"

BROKEN = UpstreamStreamError("the stream broke off")


def chunk(text: str, **fields: Any) -> dict[str, Any]:
    delta = {"content": text, **fields}
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


END = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


class Town:
    """Some processes that ask the same, the first of which leads."""

    def __init__(self, *answers: Answer, processes: int = 2, halt: int | None = None) -> None:
        self.upstream = Halting(*answers, halt=halt)
        self.store = FakeFlights()
        self.processes = [self.store.process() for _ in range(processes)]
        self.failures: list[Exception] = []
        self.caches: list[CachePipeline] = []
        self.leading: asyncio.Task[tuple[str, Source]]
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for process in self.processes:
            cache = pipeline(self.upstream, process, failures=self.failures)
            self.caches.append(await self._stack.enter_async_context(cache))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def leader(self) -> Process:
        return self.processes[0]

    def kill(self) -> None:
        """The first process is lost, and its lease runs out."""
        self.leader.dead = True
        self.store.clock.advance(6)
        self.store.move()

    async def following(self, *modes: str) -> list[asyncio.Task[tuple[str, Source]]]:
        """One request in each further process, waiting for the first's."""
        tasks = [
            asyncio.create_task(read(cache, mode)) for cache, mode in zip(self.caches[1:], modes, strict=True)
        ]
        await until(lambda: all("log" in process.calls for process in self.processes[1:]))
        await settle()
        return tasks

    async def lead(self, mode: str) -> asyncio.Task[tuple[str, Source]]:
        self.upstream.hold()
        task = asyncio.create_task(read(self.caches[0], mode))
        await self.upstream.called()
        return task


@pytest.mark.parametrize("mode", ["fetch", "stream"])
async def test_a_cancelled_leader_lets_the_others_go_on_at_once(mode: str) -> None:
    async with Town(processes=3) as town:
        leading = await town.lead(mode)
        tasks = await town.following("fetch", "stream")
        leading.cancel()
        await town.upstream.called(3)
        town.upstream.release()
        assert {await task for task in tasks} == {
            ("answer 2", Source.UPSTREAM),
            ("answer 3", Source.UPSTREAM),
        }
    assert town.store.ends == ["failed"]
    assert town.failures == []


@pytest.mark.parametrize("mode", ["fetch", "stream"])
async def test_an_error_is_not_shared_and_everyone_asks(mode: str) -> None:
    async with Town(UpstreamBusy("full"), "a", UpstreamBusy("full still"), processes=3) as town:
        leading = await town.lead(mode)
        tasks = await town.following("fetch", "stream")
        town.upstream.release()
        with pytest.raises(UpstreamBusy, match="full"):
            await leading
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert ("a", Source.UPSTREAM) in results
        assert any(isinstance(result, UpstreamBusy) for result in results)
    assert len(town.upstream.calls) == 3
    assert town.store.ends == ["failed"]


async def test_an_answer_that_may_not_be_shared_wakes_all_at_once() -> None:
    refused = {"choices": [{"index": 0, "message": {"content": "cut"}, "finish_reason": "length"}]}
    async with Town(refused, refused, refused, refused, processes=3) as town:
        leading = await town.lead("fetch")
        tasks = await town.following("fetch", "fetch")
        town.upstream.release()
        assert (await leading)[0] == "cut"
        await until(lambda: town.store.ends == ["refused"])
        town.upstream.hold()
        await town.upstream.called(3)  # side by side, not one after the other
        town.upstream.release()
        assert [await task for task in tasks] == [("cut", Source.UPSTREAM)] * 2
        assert b"cut" not in b"".join(next(iter(town.store.flights.values()))[1].frames)
        # For a while nobody waits for it.
        boarded = len(town.store.ends)
        await read(town.caches[1], "fetch")
        assert len(town.store.ends) == boarded
    assert town.failures == []


async def test_a_stream_that_may_not_be_stored_is_whole_for_those_who_read_it() -> None:
    cut = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
    async with Town([chunk("one"), chunk(" two"), cut], "asked anew", processes=3, halt=1) as town:
        streaming, fetching = await in_the_middle(town, "stream", "fetch")
        town.upstream.resumed.set()
        assert await town.leading == ("one two", Source.UPSTREAM)
        assert await streaming == ("one two", Source.SHARED)
        assert await fetching == ("asked anew", Source.UPSTREAM)
    assert town.store.ends == ["refused"]


@pytest.mark.parametrize("modes", [("fetch", "fetch"), ("stream", "stream"), ("fetch", "stream")])
@pytest.mark.parametrize("leading", ["fetch", "stream"])
async def test_a_dead_leader_costs_one_more_call(leading: str, modes: tuple[str, str]) -> None:
    async with Town("lost", "found", processes=3) as town:
        first = await town.lead(leading)
        tasks = await town.following(*modes)
        town.kill()
        await town.upstream.called(2)
        await settle()
        town.upstream.release()
        results = [await task for task in tasks]
        assert {text for text, _ in results} == {"found"}
        assert {source for _, source in results} == {Source.UPSTREAM, Source.SHARED}
        assert (await first)[0] == "lost"  # it serves its own callers all the same
    assert len(town.upstream.calls) == 2


async def in_the_middle(town: Town, *modes: str) -> list[asyncio.Task[tuple[str, Source]]]:
    """Followers that have got as much as a halted leader has."""
    await read_to_the_halt(town)
    tasks = await town.following(*modes)
    await asyncio.sleep(0.12)
    return tasks


async def read_to_the_halt(town: Town) -> None:
    town.leading = asyncio.create_task(read(town.caches[0]))
    await until(lambda: any(flight[1].frames for flight in town.store.flights.values()))


async def broken_off(town: Town, *modes: str) -> list[tuple[str, Source] | BaseException]:
    """What followers get when the leader dies in the middle of its stream."""
    tasks = await in_the_middle(town, *modes)
    town.kill()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    town.upstream.resumed.set()
    await town.leading
    return results


async def test_a_stream_goes_on_with_an_answer_that_begins_the_same() -> None:
    async with Town(ANSWER, "one two 3 4 5", processes=3, halt=3) as town:
        results = await broken_off(town, "stream", "stream")
        assert results == [("one two 3 4 5", Source.SHARED)] * 2
        assert await town.leading == (ANSWER, Source.UPSTREAM)
    assert len(town.upstream.calls) == 2
    assert town.store.ends == [None, "whole"]


async def test_a_stream_and_a_whole_answer_both_survive_the_leader() -> None:
    async with Town(ANSWER, ANSWER, processes=3, halt=3) as town:
        results = await broken_off(town, "stream", "fetch")
        assert [result[0] for result in results if isinstance(result, tuple)] == [ANSWER] * 2
    assert len(town.upstream.calls) == 2


@pytest.mark.parametrize(
    "second",
    [
        "uno dos tres",
        "one",
        [chunk("one")],
        "one twos",
        [chunk("one t"), chunk("wo three"), END],
        [chunk("one", reasoning="hm"), chunk(" two"), chunk(" three"), END],
    ],
    ids=["other words", "shorter", "broken off", "longer word", "other borders", "more than text"],
)
async def test_a_stream_never_goes_on_with_another_answer(second: Answer) -> None:
    async with Town(ANSWER, second, halt=3) as town:
        (result,) = await broken_off(town, "stream")
        assert isinstance(result, UpstreamStreamError)
        assert "came out otherwise" in str(result)
    assert town.upstream.in_flight == 0


@pytest.mark.parametrize(
    "part",
    [
        chunk(" two", tool_calls=[{"index": 0, "function": {"name": "f", "arguments": ""}}]),
        {"id": "c", "choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": None}]},
        {"id": "c", "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}] * 2},
        chunk(" two", reasoning_content="hm"),
        END,
    ],
    ids=["tool call", "second choice", "two choices", "reasoning", "ended"],
)
async def test_what_is_more_than_text_is_not_gone_on_with(part: dict[str, Any]) -> None:
    async with Town([chunk("one"), part, chunk(""), chunk(" three")], halt=2) as town:
        (result,) = await broken_off(town, "stream")
        assert isinstance(result, UpstreamStreamError)
        assert "more than text" in str(result)
    assert len(town.upstream.calls) == 1


async def test_a_broken_stream_is_asked_for_once_more() -> None:
    broken: Answer = [chunk("one"), chunk(" two"), BROKEN]
    whole: Answer = [chunk("one"), chunk(" two"), chunk("!"), END]
    async with Town(broken, whole, halt=2) as town:
        (task,) = await in_the_middle(town, "stream")
        town.upstream.resumed.set()
        with pytest.raises(UpstreamStreamError, match="broke off"):
            await town.leading
        assert await task == ("one two!", Source.SHARED)
    assert town.store.ends == ["failed", "whole"]
    assert len(town.upstream.calls) == 2


async def test_a_stream_that_breaks_again_is_broken() -> None:
    broken: Answer = [chunk("one"), BROKEN]
    async with Town(broken, broken, halt=1) as town:
        (task,) = await in_the_middle(town, "stream")
        town.upstream.resumed.set()
        results = await asyncio.gather(town.leading, task, return_exceptions=True)
        assert all(isinstance(result, UpstreamStreamError) for result in results)
    assert town.store.ends == ["failed", "failed"]
    assert len(town.upstream.calls) == 2


async def test_a_stream_left_early_lets_the_others_go_on() -> None:
    async with Town(ANSWER, ANSWER, processes=3, halt=3) as town:
        tasks = await in_the_middle(town, "stream", "stream")
        town.leading.cancel()
        assert [await task for task in tasks] == [(ANSWER, Source.SHARED)] * 2
    assert town.store.ends == ["failed", "whole"]
    assert len(town.upstream.calls) == 2


async def test_a_store_that_fails_in_mid_stream_makes_its_process_ask() -> None:
    async with Town(ANSWER, ANSWER, halt=3) as town:
        (task,) = await in_the_middle(town, "stream")
        town.processes[1].dead = True
        assert await task == (ANSWER, Source.SHARED)
        town.upstream.resumed.set()
        await town.leading
    assert len(town.upstream.calls) == 2


async def test_a_follower_that_leaves_takes_nothing_from_the_leader() -> None:
    async with Town(ANSWER) as town:
        leading = await town.lead("stream")
        (task,) = await town.following("stream")
        task.cancel()
        await settle()
        town.upstream.release()
        assert (await leading)[0] == ANSWER
    assert len(town.upstream.calls) == 1
    assert town.store.ends == ["whole"]


async def test_nobody_waits_longer_than_there_is_patience() -> None:
    clock, store, upstream = FakeClock(), FakeFlights(), FakeUpstream("slow", "own")
    following = store.process()
    upstream.hold()
    async with (
        pipeline(upstream, store.process()) as one,
        pipeline(upstream, following, clock=clock, patience=60) as two,
    ):
        first = asyncio.create_task(read(one, "fetch"))
        await upstream.called()
        second = asyncio.create_task(read(two, "fetch"))
        await until(lambda: "news" in following.calls)
        clock.advance(59)
        store.move()
        looks = following.calls.count("log")
        await until(lambda: following.calls.count("log") > looks)
        assert len(upstream.calls) == 1
        clock.advance(1)
        store.move()
        await upstream.called(2)
        upstream.release()
        assert await second == ("own", Source.UPSTREAM)
        assert await first == ("slow", Source.UPSTREAM)


async def test_a_stream_that_stands_still_is_asked_for_again() -> None:
    store, upstream = FakeFlights(), Halting(ANSWER, ANSWER, halt=3)
    async with (
        pipeline(upstream, store.process()) as one,
        pipeline(upstream, store.process(), patience=0.2) as two,
    ):
        first = asyncio.create_task(read(one))
        await upstream.called()
        assert await read(two) == (ANSWER, Source.SHARED)
        upstream.resumed.set()
        assert await first == (ANSWER, Source.UPSTREAM)
    assert len(upstream.calls) == 2


@pytest.mark.parametrize("way", ["deaf", "failing", "hanging"])
async def test_wake_ups_that_are_lost_only_cost_time(way: str) -> None:
    async with Town(ANSWER) as town:
        following = town.processes[1]
        following.deaf = way == "deaf"
        if way == "failing":
            following.failing.add("news")
        if way == "hanging":
            following.faults = dict.fromkeys((3, 5, 7), "hang")
        leading = await town.lead("fetch")
        (task,) = await town.following("fetch")
        town.upstream.release()
        assert await task == (ANSWER, Source.SHARED)
        await leading
    assert len(town.upstream.calls) == 1
    assert len(town.failures) == (way == "failing")


@pytest.mark.parametrize("mode", ["fetch", "stream"])
@pytest.mark.parametrize("frames", [[], [b""], [b"Xodd"], [b"Fnot json"], [b"B{}", b"B{}"]])
async def test_a_log_that_holds_no_answer_is_asked_past(mode: str, frames: list[bytes]) -> None:
    async with Town("lost", "own") as town:
        await town.lead(mode)
        (task,) = await town.following(mode)
        flight = next(iter(town.store.flights.values()))[1]
        flight.frames, flight.end = frames, WHOLE
        town.store.move()
        town.upstream.release()
        if frames == [b"Fnot json"] and mode == "stream":
            with pytest.raises(orjson.JSONDecodeError):  # frames are passed on as they are
                await task
            return
        assert await task == ("own", Source.UPSTREAM)
    assert all(isinstance(error, (StageError, ValueError)) for error in town.failures)
