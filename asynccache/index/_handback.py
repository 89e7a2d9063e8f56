"""Handing a thread's answers to those who wait on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

__all__ = ["Settled", "hand_back"]

Settled: TypeAlias = "tuple[asyncio.Future[Any], Any, Exception | None]"
"""A future, and its result or its error."""

WOKEN: Final = 16
"""Who goes on in one turn of the event loop; each needs it for some 50 microseconds."""


def hand_back(settled: Sequence[Settled]) -> None:
    """Settle futures, a few in each turn of the running loop: all who wait for them go on in the next.

    Those that are done already, cancelled by who waited, are passed over.
    """
    for future, result, error in settled[:WOKEN]:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
    if len(settled) > WOKEN:
        asyncio.get_running_loop().call_soon(hand_back, settled[WOKEN:])
