"""The embedder that is an async function."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import numpy as np
import pytest

from asynccache._errors import ConfigurationError, EmbedderError, EmbedderUnavailable, TextRefused
from asynccache.embedders import CallableEmbedder
from asynccache.embedders._asking import Asking
from asynccache.testing import cancel_at_every_step

pytestmark = pytest.mark.anyio


class Panic(BaseException):
    """As compiled code raises it."""


class Wordy(EmbedderError):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


class Function:
    """Vectors of two numbers; waits for the gate; fails as told."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: BaseException | None = None
        self.under_way = 0
        self.most = 0

    async def __call__(self, texts: list[str]) -> Any:
        self.calls.append(texts)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if self.error is not None:
            raise self.error
        if "refused" in texts:
            raise TextRefused(f"too long: {texts}")
        return [[3.0, float(len(text))] for text in texts]


@asynccontextmanager
async def opened(function: Any, **options: Any) -> AsyncIterator[CallableEmbedder]:
    embedder = CallableEmbedder(function, **{"name": "mine", **options})
    async with embedder.lifespan():
        yield embedder


async def test_vectors_are_scaled_to_norm_1_in_the_order_of_the_texts() -> None:
    async with opened(Function()) as embedder:
        got = await embedder.embed(["four", "1", "four"])
        assert np.allclose(got, [[0.6, 0.8], [3 / 10**0.5, 1 / 10**0.5], [0.6, 0.8]])
        assert got.dtype == np.float32
        assert embedder.dim == 2


@pytest.mark.parametrize("given", [np.eye(2), np.eye(2).tolist(), (np.ones(2, np.float16), [1, 2])])
async def test_arrays_and_lists_of_numbers_will_do(given: Any) -> None:
    async def function(texts: list[str]) -> Any:
        return given

    async with opened(function) as embedder:
        assert (await embedder.embed(["a", "b"])).shape == (2, 2)


async def test_one_text_is_asked_for_once_by_however_many() -> None:
    function = Function()
    function.gate.clear()
    async with opened(function) as embedder:
        tasks = [asyncio.ensure_future(embedder.embed(["same"])) for _ in range(10)]
        await anyio.sleep(0.01)
        function.gate.set()
        await asyncio.gather(*tasks)
        await embedder.embed(["same"])
        assert function.calls == [["same"]]


async def test_texts_go_out_in_batches_and_calls_under_way_are_bounded() -> None:
    function = Function()
    async with opened(function, batch=10, calls=3) as embedder:
        got = await embedder.embed([f"{number:03}" for number in range(95)])
        assert got.shape == (95, 2)
        assert sorted(map(len, function.calls)) == [5, *[10] * 9]
        assert function.most == 3


async def test_texts_of_many_callers_gather_while_all_calls_are_under_way() -> None:
    function = Function()
    function.gate.clear()
    async with opened(function, calls=1) as embedder, anyio.create_task_group() as group:
        for text in "abcdef":
            group.start_soon(embedder.embed, [text])
        await anyio.sleep(0.01)
        function.gate.set()
    assert function.calls == [["a"], list("bcdef")]


async def test_whatever_the_function_raises_becomes_one_error_with_its_cause() -> None:
    function = Function()
    async with opened(function) as embedder:
        for error in (
            RuntimeError("my secret"),
            ValueError(),
            TimeoutError(),
            asyncio.CancelledError("my secret"),
            Panic("my secret"),
            GeneratorExit("my secret"),
            EmbedderUnavailable("my secret"),
            Wordy("my", "secret"),
        ):
            function.error = error
            with pytest.raises(EmbedderUnavailable) as caught:
                await embedder.embed(["a", "b"])
            assert type(error).__name__ in str(caught.value)
            assert "secret" not in str(caught.value)
            assert caught.value.__cause__ is error
        function.error = None
        assert (await embedder.embed(["a", "b"])).shape == (2, 2)


async def test_refused_text_is_found_among_the_others() -> None:
    function = Function()
    async with opened(function, calls=1) as embedder:
        tasks = [asyncio.ensure_future(embedder.embed([text])) for text in ("x", "a", "refused", "b")]
        await asyncio.wait(tasks)
        with pytest.raises(TextRefused, match="refused the text"):
            tasks[2].result()
        assert all(tasks[place].result().shape == (1, 2) for place in (0, 1, 3))


async def test_slow_function_is_given_up_after_its_time() -> None:
    function = Function()
    function.gate.clear()
    async with opened(function, timeout=0.02) as embedder:
        with pytest.raises(EmbedderUnavailable, match=r"more than 0\.02 s"):
            await embedder.embed(["a"])
        assert function.under_way == 0


async def test_function_that_waits_for_a_thread_is_given_up_after_its_time() -> None:
    stop = threading.Event()

    async def function(texts: list[str]) -> Any:
        return await anyio.to_thread.run_sync(stop.wait, 30)

    try:
        with anyio.fail_after(5):
            async with opened(function, timeout=0.02) as embedder:
                with pytest.raises(EmbedderUnavailable, match=r"more than 0\.02 s"):
                    await embedder.embed(["a"])
    finally:
        stop.set()


class Stubborn:
    """Swallows its cancellation, and fails in the end."""

    def __init__(self) -> None:
        self.calls = 0
        self.stop = asyncio.Event()
        self.ended = 0

    async def __call__(self, texts: list[str]) -> Any:
        self.calls += 1
        try:
            while not self.stop.is_set():
                with suppress(asyncio.CancelledError):
                    await self.stop.wait()
            raise RuntimeError(f"secret: {texts}")
        finally:
            self.ended += 1


async def test_function_that_cannot_be_stopped_is_left_behind_and_not_called_without_end() -> None:
    function = Stubborn()
    said: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    async with opened(function, timeout=0.01, calls=2) as embedder:
        for text in "ab":
            with pytest.raises(EmbedderUnavailable, match="more than"):
                await embedder.embed([text])
        with pytest.raises(EmbedderUnavailable, match="2 calls of the embedder do not end"):
            await embedder.embed(["c"])
        assert function.calls == 2
        function.stop.set()
        while function.ended < 2:
            await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        with pytest.raises(EmbedderUnavailable, match="RuntimeError"):
            await embedder.embed(["c"])
    gc.collect()
    await anyio.lowlevel.checkpoint()
    assert said == []  # which would quote the text


async def test_failure_in_the_moment_of_the_end_is_told_to_nobody() -> None:
    function = Function()
    function.error = RuntimeError("secret")
    function.gate.clear()
    said: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    asking = Asking(function, seconds=30.0, most=1)
    caller = asyncio.ensure_future(asking.answer(["a"]))
    while not function.under_way:
        await anyio.lowlevel.checkpoint()
    function.gate.set()
    await asyncio.sleep(0)  # the function has failed, and its caller has not heard of it
    caller.cancel()
    await asyncio.wait([caller])
    assert caller.cancelled()
    del caller  # which holds on to the call
    gc.collect()
    await anyio.lowlevel.checkpoint()
    assert said == []  # which would quote the text


async def test_end_does_not_wait_for_ever_for_a_function_that_cannot_be_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asynccache.embedders._asking._CLOSING_SECONDS", 0.05)
    function = Stubborn()
    with anyio.fail_after(5):
        async with opened(function) as embedder:
            task = asyncio.ensure_future(embedder.embed(["a"]))
            while not function.calls:
                await anyio.lowlevel.checkpoint()
        with pytest.raises(EmbedderUnavailable, match="closed"):
            await task
        function.stop.set()
        while not function.ended:
            await anyio.lowlevel.checkpoint()
    await anyio.lowlevel.checkpoint()


async def test_vectors_whose_making_panics_are_a_failure() -> None:
    class Lazy:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise Panic("secret")

    async def function(texts: list[str]) -> Any:
        return Lazy()

    async with opened(function) as embedder:
        for texts in (["a"], [str(number) for number in range(20)]):
            with pytest.raises(EmbedderUnavailable, match=r"\(Panic\)"):
                await embedder.embed(texts)


async def test_vectors_are_checked_though_all_threads_of_the_program_wait_for_them(
    every_thread: Any,
) -> None:
    async with every_thread() as from_threads, opened(Function()) as embedder:
        await from_threads(lambda: embedder.embed([f"{number}" for number in range(20)]))


@pytest.mark.parametrize(
    "given", [[[1.0, 2.0]], [1.0, 2.0], [["a"], ["b"]], None, [[1.0], [1.0, 2.0]], [[], []]]
)
async def test_anything_but_one_vector_for_each_text_is_a_failure(given: Any) -> None:
    async def function(texts: list[str]) -> Any:
        return given

    async with opened(function) as embedder:
        with pytest.raises(EmbedderUnavailable):
            await embedder.embed(["a", "b"])


async def test_vector_without_a_direction_is_refused() -> None:
    async def function(texts: list[str]) -> Any:
        return [[float("nan"), 1.0] if text == "nan" else [1.0, 1.0] for text in texts]

    async with opened(function) as embedder:
        with pytest.raises(TextRefused):
            await embedder.embed(["nan"])
        assert (await embedder.embed(["a"])).shape == (1, 2)


async def test_vectors_of_another_length_than_announced_or_before_are_a_failure() -> None:
    async def function(texts: list[str]) -> Any:
        return [[1.0] * len(texts[0])]

    async with opened(function, dim=3) as embedder:
        assert embedder.dim == 3
        with pytest.raises(EmbedderUnavailable, match="length 4, not 3"):
            await embedder.embed(["four"])
    async with opened(function) as embedder:
        await embedder.embed(["four"])
        with pytest.raises(EmbedderUnavailable, match="length 5, not 4"):
            await embedder.embed(["fifth"])


async def test_callers_cancellation_ends_no_call_that_others_wait_for() -> None:
    function = Function()
    function.gate.clear()
    async with opened(function) as embedder:
        leader = asyncio.ensure_future(embedder.embed(["same"]))
        await anyio.sleep(0.01)
        follower = asyncio.ensure_future(embedder.embed(["same"]))
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.wait([leader])
        function.gate.set()
        assert (await follower).shape == (1, 2)
        assert len(function.calls) == 1


async def test_cancellation_at_any_await_leaves_no_room_lost() -> None:
    function = Function()
    async with opened(function, memo=0, batch=2) as embedder:
        assert embedder._session is not None
        queue = embedder._session[1]

        async def check() -> None:
            with anyio.fail_after(5):
                while queue.load:
                    await anyio.lowlevel.checkpoint()
            assert queue._idle == 8

        async def ask() -> None:
            await embedder.embed(["a", "b", "c"])

        assert await cancel_at_every_step(ask, check) > 0


async def test_calls_under_way_end_with_the_lifespan() -> None:
    function = Function()
    function.gate.clear()
    async with opened(function) as embedder:
        task = asyncio.ensure_future(embedder.embed(["a"]))
        await anyio.sleep(0.01)
        assert function.under_way == 1
    assert function.under_way == 0
    with pytest.raises(EmbedderUnavailable, match="closed"):
        await task
    with pytest.raises(EmbedderUnavailable, match="lifespan"):
        await embedder.embed(["a"])


async def test_without_numpy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    async with opened(Function()) as embedder:
        with pytest.raises(EmbedderUnavailable, match=r'pip install "asynccache\[semantic\]"'):
            await embedder.embed(["a"])


@pytest.mark.parametrize(
    "options",
    [{"name": ""}, {"dim": 0}, {"batch": 0}, {"timeout": 0}, {"calls": True}, {"memo": -1}],
)
def test_option_that_cannot_work_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        CallableEmbedder(Function().__call__, **{"name": "mine", **options})


def test_function_that_would_block_is_turned_away() -> None:
    def blocking(texts: list[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]

    with pytest.raises(ConfigurationError, match="not async"):
        CallableEmbedder(blocking, name="mine")  # type: ignore[arg-type]
