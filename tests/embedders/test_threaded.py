"""Texts, callers and one thread."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anyio
import numpy as np
import pytest

from asynccache._errors import EmbedderUnavailable, TextRefused
from asynccache._protocols import Fingerprinted, Managed
from asynccache.testing import cancel_at_every_step

pytestmark = pytest.mark.anyio


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


async def test_vectors_come_in_the_order_of_the_texts_with_norm_1(lab: Any) -> None:
    async with lab.open() as embedder:
        texts = ["b", "a", "b", "a longer text"]
        got = await embedder.embed(texts)
        assert got.dtype == np.float32
        assert np.allclose(got, unit(np.stack([lab.vector(text) for text in texts])))
        assert (await embedder.embed([])).shape == (0, 8)


async def test_repeated_text_is_embedded_once_and_is_the_same_object(lab: Any) -> None:
    async with lab.open() as embedder:
        first = await embedder.embed(["a"])
        assert await embedder.embed(["a"]) is first
        await embedder.embed(["a", "b", "a"])
        assert lab.model.batches == [["a"], ["b"]]


async def test_memo_of_zero_remembers_nothing(lab: Any) -> None:
    async with lab.open(memo=0) as embedder:
        await embedder.embed(["a"])
        await embedder.embed(["a"])
        assert lab.model.batches == [["a"], ["a"]]


async def test_memo_forgets_what_was_used_least_recently(lab: Any) -> None:
    async with lab.open(memo=2) as embedder:
        for text in ("a", "b", "a", "c", "a", "b"):
            await embedder.embed([text])
        assert lab.model.batches == [["a"], ["b"], ["c"], ["b"]]


async def test_callers_of_one_text_share_one_flight(lab: Any) -> None:
    async with lab.busy() as embedder:
        got: list[Any] = []

        async def ask() -> None:
            got.append(await embedder.embed(["same"]))

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(ask)
            await lab.turns()
            lab.model.gate.set()
        assert lab.model.batches == [["first"], ["same"]]
        assert all(each is got[0] for each in got)


async def test_waiting_texts_of_like_length_are_embedded_together_oldest_first(lab: Any) -> None:
    async with lab.busy() as embedder:
        texts = ["a" * 20, "b" * 60, "c" * 22, "d" * 8, "e" * 18, "f" * 60]
        async with anyio.create_task_group() as group:
            for text in texts:
                group.start_soon(embedder.embed, [text])
            await lab.turns()
            lab.model.gate.set()
        together = [["a" * 20, "c" * 22, "e" * 18], ["b" * 60, "f" * 60], ["d" * 8]]
        assert lab.model.batches == [["first"], *together]


async def test_sixty_four_callers_of_mixed_lengths_each_get_their_own_vector(lab: Any) -> None:
    async with lab.busy(max_batch=8) as embedder:
        texts = [f"{number:02}" + "x" * (8, 20, 20, 20, 60)[number % 5] for number in range(64)]
        got: dict[str, Any] = {}

        async def ask(text: str) -> None:
            got[text] = await embedder.embed([text])

        async with anyio.create_task_group() as group:
            for text in texts:
                group.start_soon(ask, text)
            await lab.turns()
            lab.model.gate.set()
        assert all(np.allclose(got[text], unit(lab.vector(text)[None])) for text in texts)
        assert max(map(len, lab.model.batches)) == 8
        assert len(lab.model.batches) <= 1 + 13 // 8 + 13 // 8 + 39 // 8 + 3


async def test_more_callers_than_room_wait_in_the_order_they_came(lab: Any) -> None:
    async with lab.busy(queue=3, max_batch=1) as embedder:
        done: list[str] = []

        async def ask(text: str) -> None:
            await embedder.embed([text])
            done.append(text)

        async with anyio.create_task_group() as group:
            for text in "abcdefgh":
                group.start_soon(ask, text)
            await lab.turns()
            assert embedder._session.queue.load == 3
            lab.model.gate.set()
        assert done == list("abcdefgh")
        assert embedder._session.queue.load == 0


async def test_more_texts_in_one_call_than_room_all_come_through(lab: Any) -> None:
    async with lab.open(queue=3) as embedder:
        texts = [f"text {number}" for number in range(50)]
        assert np.allclose(await embedder.embed(texts), unit(np.stack([lab.vector(each) for each in texts])))
        assert embedder._session.queue.load == 0


async def test_text_asked_for_by_another_during_the_wait_for_room_is_not_embedded_twice(lab: Any) -> None:
    async with lab.busy(queue=2, max_batch=1) as embedder, anyio.create_task_group() as group:
        for text in ("a", "same", "same", "same"):
            group.start_soon(embedder.embed, [text])
        await lab.turns()
        lab.model.gate.set()
    assert lab.model.batches == [["first"], ["a"], ["same"]]


async def test_cancelled_caller_leaves_nothing_in_the_queue(lab: Any) -> None:
    async with lab.busy() as embedder:
        async with anyio.create_task_group() as group:
            group.start_soon(embedder.embed, ["gone"])
            await lab.turns()
            assert embedder._session.queue.load == 2
            group.cancel_scope.cancel()
        assert embedder._session.queue.load == 1
        lab.model.gate.set()
        await embedder.embed(["last"])
        assert lab.model.batches == [["first"], ["last"]]


async def test_cancelled_caller_leaves_the_text_to_others_who_wait_for_it(lab: Any) -> None:
    async with lab.busy() as embedder, anyio.create_task_group() as group:
        leader = asyncio.ensure_future(embedder.embed(["shared"]))
        await lab.turns()
        follower = asyncio.ensure_future(embedder.embed(["shared"]))
        await lab.turns()
        leader.cancel()
        await lab.turns()
        lab.model.gate.set()
        assert (await follower).shape == (1, 8)
        assert leader.cancelled()
        group.cancel_scope.cancel()
    assert lab.model.batches == [["first"], ["shared"]]


async def test_caller_cancelled_in_the_wait_for_room_leaves_the_room(lab: Any) -> None:
    async with lab.busy(queue=1) as embedder:
        waiting = [asyncio.ensure_future(embedder.embed([text])) for text in "abc"]
        await lab.turns()
        waiting[0].cancel()
        waiting[1].cancel()
        lab.model.gate.set()
        assert (await waiting[2]).shape == (1, 8)
        assert (await embedder.embed(["d"])).shape == (1, 8)
    assert lab.model.batches == [["first"], ["c"], ["d"]]


async def test_cancellation_at_any_await_leaves_no_flight_and_no_lost_room(lab: Any) -> None:
    numbers = iter(range(1000))

    async with lab.open(queue=2, memo=0) as embedder:
        await embedder.ready()

        async def ask() -> None:
            await embedder.embed([f"text {next(numbers)}" for _ in range(5)])

        async def check() -> None:
            await lab.until(lambda: embedder._session.queue.load == 0)
            assert embedder._session.queue._room.value == 2

        assert await cancel_at_every_step(ask, check) > 1


async def test_failed_batch_fails_only_the_text_that_cannot_be_embedded(lab: Any) -> None:
    def script(texts: Any) -> Any:
        if "poison" in texts:
            raise RuntimeError("poison")
        return [lab.vector(text) for text in texts]

    async with lab.busy() as embedder:
        lab.model.script = script
        tasks = [asyncio.ensure_future(embedder.embed([text])) for text in ("good 1", "poison", "good 2")]
        await lab.turns()
        lab.model.gate.set()
        await asyncio.wait(tasks)
        assert tasks[0].result().shape == tasks[2].result().shape == (1, 8)
        with pytest.raises(EmbedderUnavailable, match="RuntimeError") as caught:
            tasks[1].result()
        assert isinstance(caught.value.__cause__, RuntimeError)


async def test_panic_of_foreign_code_ends_no_thread(lab: Any) -> None:
    class Panic(BaseException):
        """As Rust code raises it."""

    def script(texts: Any) -> Any:
        raise Panic

    async with lab.open() as embedder:
        lab.model.script = script
        assert isinstance(await lab.failure(embedder.embed(["a"])), EmbedderUnavailable)
        lab.model.script = None
        assert (await embedder.embed(["a"])).shape == (1, 8)


async def test_every_caller_of_a_failed_text_gets_an_error_of_its_own(lab: Any) -> None:
    async with lab.busy() as embedder:
        lab.model.script = lambda texts: [[float(text == "first")] * 8 for text in texts]
        tasks = [asyncio.ensure_future(lab.failure(embedder.embed(["zero"]))) for _ in range(2)]
        await lab.turns()
        lab.model.gate.set()
        one, two = await asyncio.gather(*tasks)
        assert isinstance(one, TextRefused)
        assert isinstance(two, TextRefused)
        assert one is not two


@pytest.mark.parametrize("text", ["", "  ", "\ud800", "x" * 101, "x" * 10_000])
async def test_text_without_a_vector_of_its_own_is_refused_among_others_as_well(lab: Any, text: str) -> None:
    async with lab.open() as embedder:
        assert isinstance(await lab.failure(embedder.embed([text])), TextRefused)
        assert isinstance(await lab.failure(embedder.embed(["a", text, "b"])), TextRefused)
        assert (await embedder.embed(["a", "b"])).shape == (2, 8)
        assert embedder._session.queue.load == 0


async def test_texts_after_a_refused_one_are_not_embedded_for_nothing(lab: Any) -> None:
    async with lab.open(queue=1) as embedder:
        assert isinstance(await lab.failure(embedder.embed(["x" * 101, "a", "b"])), TextRefused)
        assert embedder._session.queue.load == 0
    assert lab.model.batches == []


async def test_text_far_beyond_the_window_is_refused_unread(lab: Any) -> None:
    seen: list[str] = []
    refusals = lab.model.refusals
    lab.model.refusals = lambda texts: [*map(seen.append, texts)] and refusals(texts)
    async with lab.open() as embedder:
        error = await lab.failure(embedder.embed(["x" * 6401]))
        assert str(error) == "the text is longer than the model's window of 100 tokens"
        assert seen == []


async def test_single_string_is_no_sequence_of_texts(lab: Any) -> None:
    async with lab.open() as embedder:
        with pytest.raises(TypeError, match="single string"):
            await embedder.embed("abc")


async def test_opening_begins_to_load_and_waits_for_nothing(lab: Any) -> None:
    lab.engine.loading.clear()
    async with lab.open() as embedder:
        await lab.until(lambda: lab.engine.loads == 1)
        assert embedder.dim == 0
        assert embedder.fingerprint == b""
        waiting = asyncio.ensure_future(embedder.embed(["a"]))
        await lab.turns()
        assert lab.model.batches == []
        lab.engine.loading.set()
        assert (await waiting).shape == (1, 8)
        assert embedder.dim == 8
        assert embedder.fingerprint == lab.model.facts.fingerprint
        assert len(embedder.fingerprint) == 16


async def test_embedder_is_managed_and_fingerprinted_before_it_is_loaded(lab: Any) -> None:
    assert isinstance(lab.embedder(), Managed)
    assert isinstance(lab.embedder(), Fingerprinted)


async def test_failed_load_is_told_at_once_for_thirty_seconds_and_then_tried_again(lab: Any) -> None:
    lab.engine.load_error = OSError("no such disk")
    async with lab.open() as embedder:
        assert isinstance(await lab.failure(embedder.embed(["a"])), EmbedderUnavailable)
        lab.engine.load_error = None
        lab.clock.advance(29.9)
        error = await lab.failure(embedder.embed(["a"]))
        assert isinstance(error.__cause__, OSError)
        assert lab.engine.loads == 1
        lab.clock.advance(0.1)
        assert (await embedder.embed(["a"])).shape == (1, 8)
        assert lab.engine.loads == 2


async def test_callers_waiting_for_room_during_a_failed_load_are_told_too(lab: Any) -> None:
    lab.engine.loading.clear()
    lab.engine.load_error = OSError()
    async with lab.open(queue=2) as embedder:
        tasks = [asyncio.ensure_future(lab.failure(embedder.embed([text]))) for text in "abcdef"]
        await lab.turns()
        lab.engine.loading.set()
        assert all(isinstance(error, EmbedderUnavailable) for error in await asyncio.gather(*tasks))
        assert embedder._session.queue.load == 0


async def test_missing_model_is_not_downloaded_unasked(lab: Any) -> None:
    lab.engine.here.clear()
    async with lab.open() as embedder:
        error = await lab.failure(embedder.embed(["a"]))
        assert isinstance(error, EmbedderUnavailable)
        assert "not here" in str(error)
        assert lab.engine.downloads == 0


async def test_download_holds_up_nobody_and_embedding_begins_when_it_is_done(lab: Any) -> None:
    lab.engine.here.clear()
    lab.engine.fetching.clear()
    async with lab.open(download_timeout=60.0) as embedder:
        await lab.until(lambda: lab.engine.downloads == 1)
        await lab.until(lambda: embedder._session.queue.refusal is not None)
        error = await lab.failure(embedder.embed(["a"]))
        assert isinstance(error, EmbedderUnavailable)
        assert "being downloaded" in str(error)
        lab.engine.fetching.set()
        await embedder.ready()
        assert (await embedder.embed(["a"])).shape == (1, 8)
        assert lab.engine.loads == 2


async def test_failed_download_is_told_and_tried_again_after_thirty_seconds(lab: Any) -> None:
    lab.engine.here.clear()
    lab.engine.download_error = OSError()
    async with lab.open(download_timeout=60.0) as embedder:
        assert isinstance(await lab.failure(embedder.ready()), EmbedderUnavailable)
        assert isinstance(await lab.failure(embedder.embed(["a"])), EmbedderUnavailable)
        lab.engine.download_error = None
        lab.clock.advance(30)
        await embedder.ready()
        assert lab.engine.downloads == 2


async def test_download_that_brings_nothing_ends_in_an_error(lab: Any) -> None:
    lab.engine.here.clear()
    lab.engine.download = lambda: None
    async with lab.open(download_timeout=60.0) as embedder:
        assert "not here" in str(await lab.failure(embedder.ready()))


async def test_download_over_its_time_is_told_and_still_used_when_it_arrives(lab: Any) -> None:
    lab.engine.here.clear()
    lab.engine.fetching.clear()
    async with lab.open(download_timeout=0.01) as embedder:
        assert "more than 0.01 s" in str(await lab.failure(embedder.ready()))
        lab.clock.advance(30)
        assert "more than 0.01 s" in str(await lab.failure(embedder.ready()))
        assert lab.engine.downloads == 1
        lab.engine.fetching.set()
        await lab.until(lambda: embedder._session.queue.refusal is None)
        await embedder.ready()
        assert (await embedder.embed(["a"])).shape == (1, 8)


async def test_download_that_arrives_during_another_try_is_used_and_not_repeated(lab: Any) -> None:
    lab.engine.here.clear()
    lab.engine.fetching.clear()
    async with lab.open(download_timeout=0.01) as embedder:
        assert "more than 0.01 s" in str(await lab.failure(embedder.ready()))
        lab.clock.advance(30)
        lab.engine.loading.clear()
        asking = asyncio.ensure_future(embedder.embed(["a"]))
        await lab.until(lambda: lab.engine.loads == 2)
        lab.engine.fetching.set()
        await lab.until(lambda: embedder._session._download is None)
        lab.engine.loading.set()
        assert (await asking).shape == (1, 8)
        assert (lab.engine.loads, lab.engine.downloads) == (3, 1)


async def test_outside_its_lifespan_the_embedder_says_how_to_open_it(lab: Any) -> None:
    embedder = lab.embedder()
    assert "lifespan()" in str(await lab.failure(embedder.embed(["a"])))
    async with embedder.lifespan():
        await embedder.embed(["a"])
    assert "lifespan()" in str(await lab.failure(embedder.embed(["a"])))
    async with embedder.lifespan(), embedder.lifespan():
        assert (await embedder.embed(["a"])).shape == (1, 8)
    assert lab.engine.loads == 2


async def test_callers_still_waiting_at_the_end_are_told(lab: Any) -> None:
    async with lab.open(queue=1) as embedder:
        await embedder.ready()
        lab.model.gate.clear()
        tasks = [asyncio.ensure_future(lab.failure(embedder.embed([text]))) for text in "abc"]
        await lab.until(lambda: len(lab.model.batches) == 1)
    errors = await asyncio.gather(*tasks)
    assert {str(error) for error in errors} <= {"the embedder was closed"}
    assert all(isinstance(error, EmbedderUnavailable) for error in errors)


async def test_no_thread_is_left_after_the_end(lab: Any) -> None:
    async with lab.open() as embedder:
        await embedder.embed(["a"])
        assert any("asynccache-embedder" in thread.name for thread in threading.enumerate())
    await lab.until(lambda: not any("asynccache-embedder" in each.name for each in threading.enumerate()))


async def test_end_does_not_wait_for_ever_for_a_stuck_thread(lab: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("asynccache.embedders._session._CLOSING_SECONDS", 0.05)
    embedder = lab.embedder()
    with anyio.fail_after(5):
        async with embedder.lifespan():
            await embedder.ready()
            lab.model.gate.clear()
            asking = asyncio.ensure_future(lab.failure(embedder.embed(["a"])))
            await lab.until(lambda: len(lab.model.batches) == 1)
    assert isinstance(await asking, EmbedderUnavailable)
    lab.model.gate.set()


async def test_another_event_loop_is_turned_away(lab: Any) -> None:
    async with lab.open() as embedder:
        error = await anyio.to_thread.run_sync(lambda: asyncio.run(lab.failure(embedder.embed(["a"]))))
        assert isinstance(error, EmbedderUnavailable)
        assert "another event loop" in str(error)
