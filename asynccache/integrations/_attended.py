"""Work that ends with the client it is done for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

__all__ = ["while_attended"]


async def while_attended(work: Callable[[], Awaitable[None]], gone: Callable[[], Awaitable[None]]) -> None:
    """Run ``work`` to its end, or until ``gone`` returns: then it is cancelled.

    What ``work`` has acquired is to be released after this has returned: all it awaits once it is cancelled
    is cancelled anew.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            await gone()
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            await work()
        except Exception as error:  # noqa: BLE001  (raised below, outside the group, which would wrap it)
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # an error and the frame it names would keep each other alive
