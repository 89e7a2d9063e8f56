"""The same work for many things, some at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

__all__ = ["for_each"]

_T = TypeVar("_T")


async def for_each(items: Sequence[_T], work: Callable[[_T], Awaitable[None]], *, most: int) -> None:
    """Do the work for each item, ``most`` at a time; the first error is raised when the others are done."""
    left = iter(items)
    failures: list[Exception] = []

    async def worker() -> None:
        for item in left:
            try:
                await work(item)
            except Exception as error:  # noqa: BLE001  (raised below)
                failures.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(min(most, len(items))):
            group.start_soon(worker)
    if failures:
        raise failures[0]
