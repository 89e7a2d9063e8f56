"""One question to Redis and who waits for the reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from asynccache._errors import BackendUnavailable
from asynccache.backends._redis_errors import as_backend_error
from asynccache.backends._redis_lua import Script

if TYPE_CHECKING:
    from asynccache.backends._redis_lane import Lane
    from asynccache.backends._redis_pipe import Pipe

__all__ = ["Op"]


class Op:
    """A command, and its reply to come.

    The future always ends: by the reply, by an error, or by the deadline. Whoever waits for it may be
    cancelled; nothing of that reaches the connection.

    Args:
        command: as it is sent; for a script, what follows its name.
        fits: whether a reply can be the reply to this question.
        within: seconds until the deadline.
        shard: number of the shard it is about, by which a cluster finds the server.
        ordered: whether it goes in the order of the questions, as changes do.
        once: whether it must not be sent again when the connection breaks: doing it twice would be wrong.
        now: whether it is sent now, rather than with what else is asked in this turn of the loop.
        script: which to run, if it is one.
    """

    __slots__ = (
        "by_text",
        "command",
        "fits",
        "future",
        "heard",
        "lane",
        "now",
        "ordered",
        "pipe",
        "script",
        "shard",
        "size",
        "timer",
        "tried",
    )

    def __init__(
        self,
        command: tuple[Any, ...],
        *,
        fits: Callable[[Any], bool],
        within: float,
        shard: int,
        ordered: bool = False,
        once: bool = False,
        now: bool = False,
        script: Script | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.command: Final = command
        self.script: Final = script
        self.fits: Final = fits
        self.shard: Final = shard
        self.ordered: Final = ordered
        self.now: Final = now
        self.size: Final = sum(len(part) for part in command if isinstance(part, bytes))
        self.future: Final[asyncio.Future[Any]] = loop.create_future()
        self.lane: Lane | None = None  # in which it waits, or waited
        self.pipe: Pipe | None = None  # over which it was sent last
        self.heard = 0  # what the pipe had heard by then
        self.by_text = False  # whether its script is sent by its text, rather than its name
        self.tried = once  # whether it has been sent as often as it may
        self.timer: Final = loop.call_later(within, self._too_late, within)
        self.future.add_done_callback(self._over)

    def words(self) -> tuple[Any, ...]:
        """What is sent."""
        if self.script is None:
            return self.command
        first = (b"EVAL", self.script.text) if self.by_text else (b"EVALSHA", self.script.sha)
        return (*first, *self.command)

    def reply(self, reply: Any) -> bool:
        """Take the reply; False when it cannot be the reply to this."""
        if not self.fits(reply):
            self.fail(BackendUnavailable("the reply of redis belongs to another question"))
            return False
        if not self.future.done():
            self.future.set_result(reply)
        return True

    def fail(self, error: BaseException) -> None:
        """End it in an error."""
        if not self.future.done():
            self.future.set_exception(as_backend_error(error))

    def _too_late(self, within: float) -> None:
        self.fail(BackendUnavailable(f"redis did not answer within {within:g} seconds"))
        if self.lane is not None:
            self.lane.late(self)

    def _over(self, future: asyncio.Future[Any]) -> None:
        self.timer.cancel()
        if not future.cancelled():
            future.exception()  # seen: nobody may be waiting any more
