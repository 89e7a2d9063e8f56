"""Opened once however many use it; background work that belongs to nobody's request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from asynccache._lifespan import Nursery, SharedLifespan, entered
from asynccache.testing import cancel_at_every_step

pytestmark = pytest.mark.anyio


class Door:
    """Notes when it is opened and closed."""

    def __init__(self, *, fails: bool = False) -> None:
        self.log: list[str] = []
        self.lifespan = SharedLifespan(self._opening)
        self._fails = fails

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        if self._fails:
            raise OSError("stuck")
        self.log.append("open")
        yield
        await asyncio.sleep(0)
        self.log.append("close")


async def test_opened_with_the_first_user_and_closed_with_the_last() -> None:
    door = Door()
    async with door.lifespan():
        async with door.lifespan():
            pass
        assert door.log == ["open"]
    assert door.log == ["open", "close"]


async def test_users_that_come_at_once_open_it_once() -> None:
    door = Door()

    async def use() -> None:
        async with door.lifespan():
            await asyncio.sleep(0.001)

    await asyncio.gather(*(use() for _ in range(20)))
    assert door.log == ["open", "close"]


async def test_one_that_cannot_be_opened_may_be_tried_again() -> None:
    door = Door(fails=True)
    for _ in range(2):
        with pytest.raises(OSError, match="stuck"):
            async with door.lifespan():
                pass


def test_it_may_be_used_in_one_event_loop_after_another() -> None:
    door = Door()

    async def use() -> None:
        async with door.lifespan():
            pass

    asyncio.run(use())
    asyncio.run(use())
    assert door.log == ["open", "close"] * 2


async def test_a_cancelled_last_user_still_closes_it() -> None:
    door = Door()

    async def use() -> None:
        async with door.lifespan():
            await asyncio.sleep(60)

    task = asyncio.create_task(use())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert door.log == ["open", "close"]


async def test_a_user_cancelled_while_closing_still_closes_it() -> None:
    door = Door()

    async def use() -> None:
        async with door.lifespan():
            pass

    closed = 0

    async def check() -> None:
        nonlocal closed
        assert door.log.count("open") == door.log.count("close") > closed - 1
        closed = door.log.count("close")

    assert await cancel_at_every_step(use, check) >= 2
    assert closed > 0


async def test_entered_opens_in_order_and_ignores_what_has_no_lifespan() -> None:
    first, second = Door(), Door()
    async with entered(first, object(), None, second):
        assert (first.log, second.log) == (["open"], ["open"])
    assert (first.log, second.log) == (["open", "close"], ["open", "close"])


async def test_a_failing_child_ends_alone() -> None:
    errors: list[Exception] = []
    nursery = Nursery(errors.append)
    done = asyncio.Event()

    async def fail() -> None:
        raise ZeroDivisionError

    async def go_on() -> None:
        await asyncio.sleep(0.01)
        done.set()

    async with nursery.lifespan():
        nursery.start(fail)
        nursery.start(go_on)
        await done.wait()
    assert [type(error) for error in errors] == [ZeroDivisionError]


async def test_a_child_that_cancels_itself_ends_alone() -> None:
    nursery = Nursery()
    done = asyncio.Event()

    async def cancel_oneself() -> None:
        raise asyncio.CancelledError

    async def go_on() -> None:
        await asyncio.sleep(0.01)
        done.set()

    async with nursery.lifespan():
        nursery.start(cancel_oneself)
        nursery.start(go_on)
        with anyio.fail_after(5):
            await done.wait()


async def test_an_unclaimed_failure_reaches_the_loops_handler() -> None:
    contexts: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    nursery = Nursery()

    async def fail() -> None:
        raise ZeroDivisionError

    async with nursery.lifespan():
        nursery.start(fail)
        await asyncio.sleep(0.01)
    assert isinstance(contexts[0]["exception"], ZeroDivisionError)


async def test_leaving_cancels_the_children_and_waits_for_their_cleanup() -> None:
    nursery = Nursery()
    log: list[str] = []

    async def child() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(0.01)
            log.append("cleaned")

    async with nursery.lifespan():
        nursery.start(child)
        await asyncio.sleep(0.01)
    assert log == ["cleaned"]
    with pytest.raises(RuntimeError, match="not open"):
        nursery.start(child)


async def test_the_one_who_opened_it_is_never_cancelled_by_it() -> None:
    nursery = Nursery(lambda _: None)

    async def fail() -> None:
        raise ZeroDivisionError

    async with nursery.lifespan():
        nursery.start(fail)
        await asyncio.sleep(0.02)
        still_here = True
    assert still_here
