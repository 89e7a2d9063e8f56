"""What one process says to the others about one flight: every call is bounded in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeVar

from asynccache._errors import BackendUnavailable
from asynccache._keys import to_json
from asynccache._lifespan import Nursery, own_task_cancelled

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Boarding, FlightLog
    from asynccache._protocols import Flights

__all__ = ["BODY", "FAILED", "FRAME", "PASSED", "REFUSED", "WHOLE", "Line", "flight_of"]

_T = TypeVar("_T")

WHOLE: Final = "whole"
"""The answer is in the log, and was stored: who comes a moment too late for both may still have it."""
PASSED: Final = "passed"
"""The answer is in the log for those who were waiting; it was not stored."""
REFUSED: Final = "refused"
"""The answer may not be shared with those who wait for it whole; of a stream, all frames are there."""
FAILED: Final = "failed"
"""There is no answer, or not all of it."""
BODY: Final = b"B"
"""Before a whole answer in the log."""
FRAME: Final = b"F"
"""Before one frame of a streamed answer in the log."""
CALL_SECONDS: Final = 1.0
"""A store that takes longer counts as failing."""


def flight_of(exchange: Exchange) -> bytes:
    """48 bytes, the key first: requests with the same share an answer, in whichever mode they want it."""
    request, control = exchange.request, exchange.request.control
    options = request.body.get("stream_options") if exchange.mode == "stream" else None
    ttl = None if control.ttl is None else float(control.ttl)
    beside = to_json({"flight": [ttl, control.tags, options or None]})
    return request.key + sha256(beside).digest()[:16]


class Line:
    """The calls about one flight. They raise BackendError, or what a faulty backend raises.

    Args:
        flights: the backend.
        flight: which.
    """

    def __init__(self, flights: Flights, flight: bytes) -> None:
        self._flights: Final = flights
        self._flight: Final = flight

    async def board(self, nursery: Nursery, *, key: bytes, tags: Collection[str], seconds: float) -> Boarding:
        """As ``Flights.board``. A lead that comes when the caller is gone is given back behind it."""
        told: asyncio.Future[Boarding] = asyncio.get_running_loop().create_future()

        async def give_back(boarding: Boarding) -> None:
            if boarding.leads:
                with suppress(Exception):  # then the lease ends by itself
                    await self.append(boarding.number, [], end=FAILED)

        async def work() -> None:
            try:
                boarding = await _bounded(
                    lambda: self._flights.board(self._flight, key=key, tags=tags, seconds=seconds)
                )
            except Exception as error:  # noqa: BLE001  (raised where it is waited for)
                if not told.done():
                    told.set_exception(error)
            else:
                if told.done():
                    await give_back(boarding)
                else:
                    told.set_result(boarding)
            finally:
                told.cancel()

        nursery.start(work)
        try:
            return await told
        except asyncio.CancelledError:
            # Cancelled when the reply had come and was not yet received.
            if told.done() and not told.cancelled() and told.exception() is None:
                boarding = told.result()
                with suppress(RuntimeError):  # closed meanwhile
                    nursery.start(lambda: give_back(boarding))
            raise

    async def renew(self, number: int, *, seconds: float) -> bool:
        """As ``Flights.renew``."""
        return await _bounded(lambda: self._flights.renew(self._flight, number, seconds=seconds))

    async def append(
        self, number: int, frames: Sequence[bytes], *, end: str | None = None, alone: float = 0.0
    ) -> bool:
        """As ``Flights.append``."""
        return await _bounded(
            lambda: self._flights.append(self._flight, number, frames, end=end, alone=alone)
        )

    async def log(self, number: int, *, after: int) -> FlightLog:
        """As ``Flights.log``."""
        return await _bounded(lambda: self._flights.log(self._flight, number, after=after))

    async def news(self, seconds: float) -> None:
        """As ``Flights.flight_news``; one that never returns is a wake-up that was lost."""
        with _others_cancellation(), suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._flights.flight_news(self._flight, seconds)


async def _bounded(call: Callable[[], Awaitable[_T]]) -> _T:
    with _others_cancellation():
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await call()
        except TimeoutError as error:
            raise BackendUnavailable(f"the backend did not answer within {CALL_SECONDS} seconds") from error


@contextmanager
def _others_cancellation() -> Iterator[None]:
    """A cancellation that nobody asked of this task is a failure of the backend."""
    try:
        yield
    except asyncio.CancelledError as error:
        if own_task_cancelled():
            raise
        raise BackendUnavailable("the backend cancelled its own call") from error
