"""Following a flight that another process leads: its log, read as it is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from asynccache._errors import StageError
from asynccache._models import FlightLog, Response
from asynccache._registry import find_dialect
from asynccache.stages._lease_line import BODY, FAILED, FRAME, Line
from asynccache.stages.validate import lacking

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._lifespan import Nursery
    from asynccache._models import Request
    from asynccache._protocols import Clock

__all__ = ["Following", "LeaderLost", "NothingNew", "arriving", "assembled", "too_old"]

PACE: Final = 0.05
"""Seconds between two looks at the log, at least."""
LINGER: Final = 1.0
"""Seconds for which a flight that is over may still be boarded."""
NO_ANSWER: Final = "the log of a flight holds what is no answer"
POLL: Final = 0.5
"""Seconds after which it is looked at though nothing was heard: a wake-up may be lost."""


class NothingNew(Exception):
    """Nothing came for as long as there was patience."""


class LeaderLost(Exception):
    """What was handed out so far is not followed by more of it.

    Args:
        alone: whether there is no use in asking others again.
    """

    def __init__(self, *, alone: bool) -> None:
        super().__init__()
        self.alone: Final = alone


class Following:
    """One reader's place in the log of a flight.

    Args:
        line: to the others.
        number: of the flight.
        nursery: where it is listened for news.
        clock: time.
        patience: seconds to wait for something new.
        report: told of wake-ups that fail.
    """

    def __init__(
        self,
        line: Line,
        number: int,
        *,
        nursery: Nursery,
        clock: Clock,
        patience: float,
        report: Callable[[Exception], None],
    ) -> None:
        self._line: Final = line
        self._number: Final = number
        self._nursery: Final = nursery
        self._clock: Final = clock
        self._patience: Final = patience
        self._report: Final = report
        self._place = 0
        self._read_at = float("-inf")  # the loop's time of the last look
        self._deaf = False  # True once waiting for news has failed

    async def more(self) -> FlightLog:
        """What is new: frames, an end, or that nobody leads any more.

        Raises:
            NothingNew: it took too long.
            BackendError: the store failed.
        """
        until = self._clock.monotonic() + self._patience
        while True:
            await self._pace()
            left = max(0.0, until - self._clock.monotonic())
            heard = asyncio.Event()
            # Before the look, so that what is written down meanwhile is heard of.
            listening = self._nursery.start(partial(self._listen, heard, min(POLL, left)))
            try:
                log = await self._line.log(self._number, after=self._place)
                self._place = log.place
                if log.frames or log.end is not None or not log.led:
                    return log
                if not left:
                    raise NothingNew
                await heard.wait()
            finally:
                listening.cancel()

    async def _pace(self) -> None:
        monotonic = asyncio.get_running_loop().time
        early = self._read_at + PACE - monotonic()
        if early > 0:
            await asyncio.sleep(early)
        self._read_at = monotonic()

    async def _listen(self, heard: asyncio.Event, seconds: float) -> None:
        try:
            if self._deaf:
                await asyncio.sleep(seconds)
            else:
                await self._line.news(seconds)
        except Exception as error:  # noqa: BLE001  (looking from time to time does as well)
            self._deaf = True
            self._report(error)
            await asyncio.sleep(seconds)
        finally:
            heard.set()


def assembled(exchange: Exchange, frames: Sequence[bytes]) -> Response | None:
    """The answer that a whole log holds; None when it lacks something that this request asks for.

    Raises:
        ValueError: its frames make no answer.
        StageError: it was written by something else.
    """
    request = exchange.request
    dialect = find_dialect(request.dialect)
    if len(frames) == 1 and frames[0][:1] == BODY:
        response = Response(frames[0][1:])
    elif frames and all(frame[:1] == FRAME for frame in frames):
        payloads = tuple([frame[1:] for frame in frames])
        response = Response(dialect.assemble(payloads), payloads)
    else:
        raise StageError(NO_ANSWER)
    return None if lacking(request, response) else response


def too_old(exchange: Exchange, log: FlightLog) -> bool:
    """Whether an answer that was over when it was first looked at may be older than is asked for."""
    max_age = exchange.request.control.max_age
    return log.end is not None and max_age is not None and max_age < LINGER


async def arriving(
    request: Request, following: Following, log: FlightLog, report: Callable[[Exception], None]
) -> AsyncGenerator[bytes, None]:
    """The frames of a flight as they are written, those already read first.

    Raises:
        LeaderLost: there will not be more, and the answer is not at its end.
    """
    seen = False
    while True:
        try:
            payloads = [payload for frame in log.frames for payload in _payloads(request, frame)]
        except Exception as error:
            report(error)
            raise LeaderLost(alone=True) from error
        for payload in payloads:
            yield payload
        seen = seen or bool(payloads)
        if log.end is not None:
            if log.end == FAILED or not seen:
                raise LeaderLost(alone=log.end != FAILED)
            return
        if not log.led:
            raise LeaderLost(alone=False)
        try:
            log = await following.more()
        except NothingNew:
            raise LeaderLost(alone=True) from None
        except Exception as error:
            report(error)
            raise LeaderLost(alone=True) from error


def _payloads(request: Request, frame: bytes) -> Iterable[bytes]:
    if frame[:1] == FRAME:
        return [frame[1:]]
    if frame[:1] == BODY:
        return find_dialect(request.dialect).replay(request.body, Response(frame[1:]))
    raise StageError(NO_ANSWER)
