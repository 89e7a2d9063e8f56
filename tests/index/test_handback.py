"""Answers of a thread, handed back without holding the event loop."""

from __future__ import annotations

import asyncio

import pytest

from asynccache.index._handback import WOKEN, hand_back

pytestmark = pytest.mark.anyio


async def test_results_and_errors_reach_those_who_wait() -> None:
    loop = asyncio.get_running_loop()
    well, badly, gone = (loop.create_future() for _ in range(3))
    gone.cancel()
    hand_back([(well, 1, None), (badly, None, ValueError("no")), (gone, 2, None)])
    assert await well == 1
    with pytest.raises(ValueError, match="no"):
        await badly
    assert gone.cancelled()


async def test_a_crowd_goes_on_a_few_at_a_time_and_in_order() -> None:
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[int]] = [loop.create_future() for _ in range(3 * WOKEN + 1)]
    hand_back([(future, number, None) for number, future in enumerate(futures)])
    for turn in range(1, 4):
        assert [future.done() for future in futures].index(False) == turn * WOKEN
        await asyncio.sleep(0)
    assert [await future for future in futures] == list(range(len(futures)))
