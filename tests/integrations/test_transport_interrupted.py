"""Blocking clients that are interrupted leave nothing open behind them."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from asynccache._portal import Portal
from asynccache.integrations._blocking_client import BlockingShell, SyncBody, _BlockingIncoming, _Handover
from tests.integrations._transports import (
    URL,
    asked,
    blocking,
    body,
    cache,
    caching,
    document,
    each_library,
    event,
)

pytestmark = each_library


WAKE = signal.SIGUSR1


class Interruption(BaseException):
    """What a signal raises in the waiting thread."""


@contextmanager
def interrupted(ready: Callable[[], bool]) -> Iterator[None]:
    """Interrupt the main thread, inside, as soon as ``ready``; goes on when it has been."""

    def raising(*_: object) -> None:
        raise Interruption

    def interrupt() -> None:
        until(ready)
        time.sleep(0.1)  # for the main thread to wait, and for nothing else
        signal.pthread_kill(main, WAKE)

    main = threading.get_ident()
    before = signal.signal(WAKE, raising)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(Interruption):
            yield
    finally:
        thread.join()
        signal.signal(WAKE, before)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.01)


def endless(library: Any, closed: threading.Event) -> Any:
    """A body that ends only by being closed."""

    def pieces() -> Iterator[bytes]:
        while not closed.wait(0.02):
            yield event("x")

    return body(library, pieces, closed.set)


def streaming(library: Any, stream: Any) -> Any:
    return library.Response(200, headers={"content-type": "text/event-stream"}, stream=stream)


def test_response_to_an_interrupted_call_is_closed_when_it_comes(library: Any) -> None:
    come, closed = threading.Event(), threading.Event()

    def answer(request: Any) -> Any:
        come.wait(10)
        return streaming(library, body(library, lambda: iter([event("x")]), closed.set))

    inner = blocking(library, answer)
    with library.Client(transport=caching(library, cache(), inner)) as client:
        with interrupted(lambda: bool(inner.requests)):
            client.post(URL, json=asked())
        assert not closed.is_set()
        come.set()
        assert closed.wait(10)


def test_response_whose_body_is_awaited_by_an_interrupted_call_is_closed(library: Any) -> None:
    reading, closed = threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        reading.set()
        closed.wait(10)
        yield event("x")

    def answer(request: Any) -> Any:
        return streaming(library, body(library, pieces, closed.set))

    with library.Client(transport=caching(library, cache(), blocking(library, answer))) as client:
        with interrupted(reading.is_set):
            client.post(URL, json=asked())
        assert closed.wait(10)


def test_stream_whose_reading_is_interrupted_is_closed(library: Any) -> None:
    second, closed = threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        yield event("x")
        second.set()
        closed.wait(10)
        yield event("y")

    def answer(request: Any) -> Any:
        return streaming(library, body(library, pieces, closed.set))

    with library.Client(transport=caching(library, cache(), blocking(library, answer))) as client:
        with (
            interrupted(second.is_set),
            client.stream("POST", URL, json=asked(stream=True)) as response,
        ):
            for _ in response.iter_bytes():
                pass
        assert closed.wait(10)


def test_body_that_cannot_be_closed_while_it_is_read_is_closed_by_its_reader(library: Any) -> None:
    second, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def pieces() -> Generator[bytes, None, None]:
        try:
            yield event("x")
            second.set()
            go_on.wait(10)
            yield event("y")
        finally:
            closed.set()

    generator = pieces()

    def answer(request: Any) -> Any:
        return streaming(library, body(library, lambda: generator, generator.close))

    with library.Client(transport=caching(library, cache(), blocking(library, answer))) as client:
        with (
            interrupted(second.is_set),
            client.stream("POST", URL, json=asked(stream=True)) as response,
        ):
            for _ in response.iter_bytes():
                pass
        assert not closed.is_set()
        go_on.set()
        assert closed.wait(10)


def test_closing_what_is_being_read_is_no_error(library: Any) -> None:
    reading, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def pieces() -> Generator[bytes, None, None]:
        try:
            reading.set()
            go_on.wait(10)
            yield event("x")
        finally:
            closed.set()

    async def main() -> None:
        generator = pieces()
        response = streaming(library, body(library, lambda: generator, generator.close))
        incoming = _BlockingIncoming(response, None)
        read = asyncio.ensure_future(incoming.next_chunk())
        await asyncio.to_thread(reading.wait, 10)
        read.cancel()
        await incoming.aclose()
        assert not closed.is_set()
        go_on.set()
        assert await asyncio.to_thread(closed.wait, 10)

    asyncio.run(main())


def test_response_that_came_as_its_call_was_cancelled_is_closed(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = threading.Event()
    inner = blocking(library, lambda request: streaming(library, endless(library, closed)))
    give = _Handover.give

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def giving(handed: _Handover[Any], thing: Any) -> bool:
            taken = give(handed, thing)
            loop.call_soon_threadsafe(sending.cancel)
            return taken

        monkeypatch.setattr(_Handover, "give", giving)
        shell: BlockingShell = caching(library, cache(), inner)._blocking
        sending = asyncio.ensure_future(shell._sent(inner, None))
        with pytest.raises(asyncio.CancelledError):
            await sending

    asyncio.run(main())
    assert closed.is_set()


def test_interrupted_closing_goes_on(library: Any) -> None:
    closing, closed = threading.Event(), threading.Event()

    class Closing:
        async def aclose(self) -> None:
            closing.set()
            await asyncio.sleep(0.5)
            closed.set()

    events: Any = Closing()
    closer = SyncBody(events, lambda error: error)
    with interrupted(closing.is_set):
        closer.close()
    assert not closed.is_set()
    assert closed.wait(10)


def test_answer_that_came_as_the_call_was_interrupted_is_released(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = threading.Event()

    def answer(request: Any) -> Any:
        return streaming(library, endless(library, closed))

    def made(*_: object, **__: object) -> None:
        raise Interruption

    transport = caching(library, cache(), blocking(library, answer))
    with library.Client(transport=transport) as client:
        monkeypatch.setattr("asynccache.integrations._library.Passage.response", made)
        with pytest.raises(Interruption):
            client.post(URL, json=asked(stream=True))
        assert closed.wait(10)


def test_answer_that_comes_though_the_call_was_interrupted_is_released(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    come, closed = threading.Event(), threading.Event()

    def answer(request: Any) -> Any:
        come.wait(10)
        return streaming(library, endless(library, closed))

    def leaving(portal: Portal, work: Any) -> None:
        portal.start(work)  # whose cancellation comes too late to stop it
        until(lambda: bool(inner.requests))
        raise Interruption

    inner = blocking(library, answer)
    with library.Client(transport=caching(library, cache(), inner)) as client:
        monkeypatch.setattr(Portal, "run_blocking", leaving)
        with pytest.raises(Interruption):
            client.post(URL, json=asked(stream=True))
        come.set()
        assert closed.wait(10)


def test_interrupted_calls_leave_the_cache_usable(library: Any) -> None:
    come = threading.Event()

    def answer(request: Any) -> Any:
        come.wait(10)
        return library.Response(200, json=document())

    inner = blocking(library, answer)
    with library.Client(transport=caching(library, cache(), inner)) as client:
        with interrupted(lambda: bool(inner.requests)):
            client.post(URL, json=asked())
        come.set()
        assert "cache-status" in client.post(URL, json=asked()).headers
