"""The helper that cancels at every step: it reaches each one, and sees what goes wrong there."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asynccache.testing import cancel_at_every_step

pytestmark = pytest.mark.anyio


async def test_coroutine_is_cancelled_at_each_suspension_in_three_ways() -> None:
    log: list[str] = []

    async def walk() -> None:
        try:
            for step in ("first", "second", "third"):
                await asyncio.sleep(0)
                log.append(step)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    assert await cancel_at_every_step(walk) == 3
    assert log == [
        *(["cancelled"] * 3),
        *(["first", "cancelled"] * 3),
        *(["first", "second", "cancelled"] * 3),
        *["first", "second", "third"],
    ]


async def test_coroutine_that_never_suspends_has_no_steps() -> None:
    async def at_once() -> int:
        return 1

    checks = 0

    async def check() -> None:
        nonlocal checks
        checks += 1

    assert await cancel_at_every_step(at_once, check) == 0
    assert checks == 1


async def test_check_runs_after_every_run_and_its_error_is_raised() -> None:
    lock = asyncio.Lock()

    async def leave_locked() -> None:
        await lock.acquire()
        await checkpoint()
        lock.release()

    async def check() -> None:
        assert not lock.locked(), "left locked"

    with pytest.raises(AssertionError, match="left locked"):
        await cancel_at_every_step(leave_locked, check)


async def test_result_that_arrives_with_the_cancellation_is_lost() -> None:
    """The second way: a coroutine that forgets what it has just been given is found out."""
    free: list[object] = []

    async def borrow() -> None:
        handed = asyncio.get_running_loop().create_future()

        def hand_over() -> None:
            if not handed.done():
                handed.set_result(free.pop())

        asyncio.get_running_loop().call_soon(hand_over)
        free.append(await handed)

    async def check() -> None:
        assert free, "lost"

    free.append(object())
    with pytest.raises(AssertionError, match="lost"):
        await cancel_at_every_step(borrow, check)


async def test_swallowed_cancellation_is_an_error() -> None:
    async def deaf() -> None:
        with suppress(asyncio.CancelledError):
            await checkpoint()

    with pytest.raises(AssertionError, match=r"cancelled at suspension 1 .*, it went on to its end"):
        await cancel_at_every_step(deaf)


async def test_cancellation_turned_into_an_error_is_raised() -> None:
    async def disguise() -> None:
        try:
            await checkpoint()
        except asyncio.CancelledError as error:
            raise OSError("connection lost") from error

    with pytest.raises(OSError, match="connection lost"):
        await cancel_at_every_step(disguise)


async def test_cleanup_that_suspends_may_finish() -> None:
    cleaned = 0

    async def tidy() -> None:
        nonlocal cleaned
        try:
            await checkpoint()
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(0)
            cleaned += 1

    async def check() -> None:
        nonlocal cleaned
        cleaned = 0

    assert await cancel_at_every_step(tidy, check) == 2


async def test_scope_cancels_again_in_an_unshielded_cleanup() -> None:
    left: list[str] = []

    async def untidy() -> None:
        left.append("open")
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # the scope's second cancellation hits here; a task's comes once
            left.remove("open")
            raise
        left.remove("open")

    async def check() -> None:
        assert not left, "left open"

    with pytest.raises(AssertionError, match="left open"):
        await cancel_at_every_step(untidy, check)


async def test_thread_is_waited_for_like_anything_else() -> None:
    async def hop() -> None:
        await asyncio.to_thread(int)

    assert await cancel_at_every_step(hop) == 1


async def test_endless_coroutine_is_given_up() -> None:
    started = 0

    async def endless() -> None:
        nonlocal started
        started += 1
        while started:
            await checkpoint()

    with pytest.raises(AssertionError, match="still going after 1000 suspensions"):
        await cancel_at_every_step(endless)
    assert started == 3000
