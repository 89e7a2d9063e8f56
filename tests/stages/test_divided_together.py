"""Batches at the same time: each input is asked for once, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asynccache import CachePipeline, Outcome, Source, UpstreamBusy
from asynccache._models import Entry
from asynccache._registry import open_backend
from asynccache.backends import MemoryBackend
from asynccache.testing import FakeClock, cancel_at_every_step
from tests.backends._fake_feed import FakeStore, tier
from tests.stages._batches import EmbeddingServer, batches, document, expected, request, vectors

pytestmark = pytest.mark.anyio


@pytest.fixture
def upstream() -> EmbeddingServer:
    return EmbeddingServer()


def asking(cache: CachePipeline, given: list[Any], **control: Any) -> asyncio.Task[Outcome]:
    return asyncio.create_task(cache.fetch(request(given, control=control)))


async def test_an_input_another_batch_is_being_answered_is_not_asked_for(upstream: EmbeddingServer) -> None:
    upstream.hold()
    async with batches(upstream, MemoryBackend()) as cache:
        first = asking(cache, ["a", "b"])
        await upstream.called(1)
        second = asking(cache, ["b", "c"])
        await upstream.called(2)
        third = asking(cache, ["c", "a"])
        await anyio.wait_all_tasks_blocked()
        upstream.release()
        outcomes = [await each for each in (first, second, third)]
    assert upstream.calls == [["a", "b"], ["c"]]
    assert [outcome.source for outcome in outcomes] == [Source.UPSTREAM, Source.UPSTREAM, Source.SHARED]
    assert [vectors(outcome) for outcome in outcomes] == list(
        map(expected, (["a", "b"], ["b", "c"], ["c", "a"]))
    )


async def test_fifty_overlapping_batches_ask_for_each_input_once() -> None:
    upstream = EmbeddingServer(slow=0.005)
    chance = random.Random(7)
    async with batches(upstream, MemoryBackend()) as cache:
        wanted = [[f"t{chance.randrange(60)}" for _ in range(chance.randint(2, 20))] for _ in range(50)]
        outcomes = await asyncio.gather(*(cache.fetch(request(given)) for given in wanted))
    for batch, outcome in zip(wanted, outcomes, strict=True):
        assert vectors(outcome) == expected(batch)
    assert sorted(upstream.asked) == sorted({each for batch in wanted for each in batch})


async def test_batches_that_come_in_while_others_land_ask_for_each_input_once() -> None:
    upstream = EmbeddingServer()
    chance = random.Random(11)

    async def late(cache: CachePipeline, given: list[str]) -> None:
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)
        assert vectors(await cache.fetch(request(given))) == expected(given)

    async with batches(upstream, MemoryBackend()) as cache:
        wanted = [[f"t{chance.randrange(40)}" for _ in range(chance.randint(2, 9))] for _ in range(200)]
        await asyncio.gather(*(late(cache, given) for given in wanted))
    assert len(upstream.asked) == len(set(upstream.asked))


class SlowToRead(MemoryBackend):
    """A store whose next look has seen what there is, and tells it late."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: anyio.Event | None = None

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        found = await super().get_many(keys)
        gate, self.gate = self.gate, None
        if gate is not None:
            await gate.wait()
        return found


async def test_a_batch_that_looked_in_vain_before_another_landed_shares_its_answers(
    upstream: EmbeddingServer,
) -> None:
    backend = SlowToRead()
    async with batches(upstream, backend) as cache:
        gate = backend.gate = anyio.Event()
        late = asking(cache, ["a", "b"])
        await anyio.wait_all_tasks_blocked()
        await cache.fetch(request(["a", "b"]))
        gate.set()
        assert (await late).source is Source.SHARED
    assert upstream.calls == [["a", "b"]]


async def test_the_failure_of_one_batch_is_not_anothers(upstream: EmbeddingServer) -> None:
    upstream.hold()
    upstream.failures.append(UpstreamBusy("busy", status=503))
    async with batches(upstream, MemoryBackend()) as cache:
        first = asking(cache, ["a", "b"])
        await upstream.called(1)
        second = asking(cache, ["b", "a"])
        third = asking(cache, ["a", "b"])
        await anyio.wait_all_tasks_blocked()
        upstream.release()
        with pytest.raises(UpstreamBusy):
            await first
        assert vectors(await second) == expected(["b", "a"])
        assert vectors(await third) == expected(["a", "b"])
    assert upstream.calls == [["a", "b"], ["b", "a"]]  # one of those who waited asked for both


async def test_the_cancellation_of_one_batch_is_not_anothers(upstream: EmbeddingServer) -> None:
    upstream.hold()
    async with batches(upstream, MemoryBackend()) as cache:
        first = asking(cache, ["a", "b"])
        await upstream.called(1)
        second = asking(cache, ["b", "c"])
        await upstream.called(2)
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        upstream.release()
        assert vectors(await second) == expected(["b", "c"])
    assert upstream.calls == [["a", "b"], ["c"], ["b"]]


async def test_who_waits_may_be_cancelled(upstream: EmbeddingServer) -> None:
    upstream.hold()
    async with batches(upstream, MemoryBackend()) as cache:
        first = asking(cache, ["a", "b"])
        await upstream.called(1)
        second = asking(cache, ["a", "b"])
        await anyio.wait_all_tasks_blocked()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        upstream.release()
        assert vectors(await first) == expected(["a", "b"])
    assert upstream.calls == [["a", "b"]]


async def test_after_enough_failures_of_others_a_batch_asks_alone(upstream: EmbeddingServer) -> None:
    upstream.failures.extend([UpstreamBusy("busy", status=503)] * 4)
    upstream.hold()
    async with batches(upstream, MemoryBackend()) as cache:
        tasks = []
        for _ in range(5):
            tasks.append(asking(cache, ["a", "b"]))
            await anyio.wait_all_tasks_blocked()
        upstream.release()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(outcome, UpstreamBusy) for outcome in outcomes) == 4
    assert len(upstream.calls) == 5


async def test_what_stands_in_beside_what_was_asked_for_is_told_as_stale(upstream: EmbeddingServer) -> None:
    clock, control = FakeClock(), {"max_age": 5, "stale_if_error": 60}
    async with batches(upstream, MemoryBackend(clock=clock), clock=clock) as cache:
        await cache.fetch(request("a"))
        clock.advance(10)
        upstream.hold()
        upstream.failures.append(UpstreamBusy("busy"))
        first = asking(cache, ["a", "c"], max_age=5)
        await upstream.called(2)
        second = asking(cache, ["a", "d"], **control)  # asks for "d", and waits for "a"
        await upstream.called(3)
        upstream.failures.append(UpstreamBusy("busy"))  # of its call for "a"
        upstream.release()
        with pytest.raises(UpstreamBusy):
            await first
        outcome = await second
    assert upstream.calls == [["a"], ["a", "c"], ["d"], ["a"]]
    assert vectors(outcome) == expected(["a", "d"])
    assert outcome.source is Source.STALE


async def test_a_bad_embedding_is_not_shared(upstream: EmbeddingServer) -> None:
    spoilt = document(["a", "b"])
    spoilt["data"][1]["embedding"] = []
    upstream.failures.append(spoilt)
    upstream.hold()
    async with batches(upstream, MemoryBackend()) as cache:
        first = asking(cache, ["a", "b"])
        await upstream.called(1)
        second = asking(cache, ["a", "b"])
        await anyio.wait_all_tasks_blocked()
        upstream.release()
        assert (await first).json() == spoilt
        assert vectors(await second) == expected(["a", "b"])
    assert upstream.calls == [["a", "b"], ["b"]]


async def test_an_answer_asked_for_before_an_invalidation_is_neither_shared_nor_stored(
    upstream: EmbeddingServer,
) -> None:
    upstream.hold()
    async with batches(upstream, MemoryBackend()) as cache:
        first = asking(cache, ["a", "b"], tags=["t"])
        await upstream.called(1)
        await cache.invalidate(tags=["t"])
        second = asking(cache, ["a", "b"], tags=["t"])
        await upstream.called(2)
        upstream.release()
        assert (await first).reasons == ("not stored: invalidated while the upstream was thinking",)
        assert (await second).reasons == ()
        assert (await cache.fetch(request(["a", "b"]))).source is Source.EXACT
    assert upstream.calls == [["a", "b"]] * 2


@pytest.mark.parametrize(
    "control",
    [
        {"no_cache": True},
        {"no_store": True},
        {"consistency": "strong"},
        {"ttl": 5},
        {"tags": ["t"]},
    ],
    ids=str,
)
async def test_who_wants_something_else_of_the_cache_waits_for_nobody(
    control: dict[str, Any], upstream: EmbeddingServer
) -> None:
    upstream.hold()
    async with batches(upstream, MemoryBackend()) as cache:
        tasks = [asking(cache, ["a", "b"])]
        await upstream.called(1)
        tasks.append(asking(cache, ["a", "b"], **control))
        await upstream.called(2)
        upstream.release()
        for task in tasks:
            assert vectors(await task) == expected(["a", "b"])


@pytest.mark.parametrize(
    "control", [{"no_cache": True}, {"no_store": True}, {"consistency": "strong"}], ids=str
)
async def test_who_waits_for_nobody_is_waited_for_by_nobody(
    control: dict[str, Any], upstream: EmbeddingServer
) -> None:
    upstream.hold()
    async with batches(upstream, MemoryBackend()) as cache:
        tasks = [asking(cache, ["a", "b"], **control)]
        await upstream.called(1)
        tasks.append(asking(cache, ["a", "b"]))
        await upstream.called(2)
        upstream.release()
        await asyncio.gather(*tasks)


async def test_an_upstream_that_asks_the_cache_itself_does_not_wait_for_itself() -> None:
    asked: list[list[str]] = []

    async def nested(body: dict[str, Any]) -> dict[str, Any]:
        asked.append(body["input"])
        if len(asked) == 1:
            inner = await cache.fetch(request(["b", "a"]))
            assert vectors(inner) == expected(["b", "a"])
        return document(body["input"])

    async with batches(nested, MemoryBackend()) as cache:
        with anyio.fail_after(5):
            assert vectors(await cache.fetch(request(["a", "b"]))) == expected(["a", "b"])
    assert asked == [["a", "b"], ["b", "a"]]


@pytest.mark.parametrize("by_tag", [False, True])
async def test_inputs_another_process_invalidated_meanwhile_are_not_stored(
    upstream: EmbeddingServer, by_tag: bool
) -> None:
    store, clock = FakeStore(), FakeClock()
    one = batches(upstream, tier(store, clock)[0], clock=clock)
    other = batches(upstream, tier(store, clock)[0], clock=clock)
    async with one, other:
        upstream.hold()
        task = asking(one, ["a", "b"], tags=["t"])
        await upstream.called(1)
        if by_tag:
            await other.invalidate(tags=["t"])
        else:
            await other.invalidate(request("a"))
        upstream.release()
        assert vectors(await task) == expected(["a", "b"])
        assert len(store.entries) == (0 if by_tag else 1)


@pytest.mark.parametrize("control", [{}, {"consistency": "strong"}], ids=str)
async def test_strong_consistency_serves_only_what_the_store_holds_now(
    control: dict[str, Any], upstream: EmbeddingServer
) -> None:
    store, clock = FakeStore(), FakeClock()
    tiered, _, back = tier(store, clock)
    quiet = [lambda _: None]
    one = batches(upstream, tiered, clock=clock, strict=False, hooks=quiet)
    other = batches(upstream, tier(store, clock)[0], clock=clock, strict=False, hooks=quiet)
    async with one, other:
        await one.fetch(request(["a", "b"]))
        assert (await one.fetch(request(["a", "b"]))).source is Source.EXACT
        back.failing.update(("changes", "news"))  # it is told of no change any more
        await other.invalidate(request("a"))
        outcome = await one.fetch(request(["a", "b"], control=control))
    assert outcome.source is (Source.UPSTREAM if control else Source.EXACT)
    assert upstream.calls == [["a", "b"], *([["a"]] if control else [])]


async def test_a_batch_cancelled_anywhere_leaves_nothing_behind() -> None:
    upstream = EmbeddingServer()
    number = 0
    given: list[str] = []
    async with batches(upstream, MemoryBackend()) as cache:

        async def ask() -> None:
            nonlocal number
            number += 1
            given[:] = [f"a{number}", "common", f"b{number}"]
            await cache.fetch(request(given))

        async def check() -> None:
            assert upstream.in_flight == 0
            with anyio.fail_after(5):
                assert vectors(await cache.fetch(request(given))) == expected(given)

        assert await cancel_at_every_step(ask, check) > 0


async def test_a_batch_cancelled_at_any_time_harms_no_other(tmp_path: Path) -> None:
    upstream = EmbeddingServer(slow=0.002)
    async with batches(upstream, open_backend(f"sqlite:///{tmp_path}/s.sqlite")) as cache:
        others = []
        for number in range(20):
            leader = asking(cache, [f"a{number}", f"b{number}"])
            await asyncio.sleep(0)
            others.append(asking(cache, [f"b{number}", f"c{number}"]))
            await asyncio.sleep(number * 0.0003)
            leader.cancel()
            await asyncio.wait([leader])
        with anyio.fail_after(10):
            outcomes = await asyncio.gather(*others)
    assert upstream.in_flight == 0
    for number, outcome in enumerate(outcomes):
        assert vectors(outcome) == expected([f"b{number}", f"c{number}"])


inputs = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6)


@settings(deadline=None)
@given(st.lists(inputs, max_size=8))
def test_any_sequence_of_batches_gives_what_an_uncached_upstream_gives(wanted: list[list[str]]) -> None:
    async def main() -> None:
        upstream = EmbeddingServer()
        async with batches(upstream, MemoryBackend()) as cache:
            for given in wanted:
                outcome = await cache.fetch(request(given))
                assert outcome.json() == document(given)
        assert upstream.asked == list(dict.fromkeys(each for given in wanted for each in given))

    anyio.run(main)


@settings(deadline=None)
@given(
    st.lists(st.tuples(inputs.filter(lambda given: len(given) > 1), st.integers(0, 8)), max_size=8),
    st.lists(st.sampled_from(["busy", "short"]), max_size=4),
)
def test_any_batches_at_the_same_time_give_what_an_uncached_upstream_gives(
    wanted: list[tuple[list[str], int]], fails: list[str]
) -> None:
    async def main() -> None:
        upstream = EmbeddingServer()
        upstream.failures.extend(UpstreamBusy("busy") if fail == "busy" else document([]) for fail in fails)
        seen = {"busy": 0, "short": 0}

        async def late(cache: CachePipeline, given: list[str], turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            try:
                answer = (await cache.fetch(request(given))).json()
            except UpstreamBusy:
                seen["busy"] += 1
            else:
                seen["short"] += answer == document([])
                assert answer in (document(given), document([]))

        async with batches(upstream, MemoryBackend()) as cache:
            await asyncio.gather(*(late(cache, *each) for each in wanted))
        for kind, times in seen.items():
            assert times <= fails.count(kind)
        if not fails:
            assert len(upstream.asked) == len(set(upstream.asked))
        assert upstream.in_flight == 0

    anyio.run(main)
