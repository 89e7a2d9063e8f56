"""Several servers that serve the same models, asked as one."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from asynccache._errors import (
    ConfigurationError,
    UpstreamBusy,
    UpstreamError,
    UpstreamServerError,
    UpstreamStreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from asynccache._stream import Stream
from asynccache.upstreams._retry import wait_before_retry
from asynccache.upstreams._vllm_stream import WatchedFrames

if TYPE_CHECKING:
    from asynccache._models import Request, Response
    from asynccache._protocols import Upstream
    from asynccache.upstreams._vllm_usage import Usage
    from asynccache.upstreams.prefix_router import PrefixRouter

__all__ = ["Replicas", "harm", "wait_for_next"]

_T = TypeVar("_T")

_GATEWAY_ERRORS: Final = (502, 504)
"""The server behind did not answer; a 500 may be the request's own doing and harms no replica's name."""
_REQUESTS_FAULT: Final = range(400, 500)


def never_taken(error: UpstreamError) -> bool:
    """Whether the request cannot have been processed, however long the upstream asked to wait."""
    if isinstance(error, UpstreamBusy):
        return True
    return wait_before_retry(error, tries=1, max_retries=1, random=0.0) is not None


def harm(error: UpstreamError) -> str | None:
    """What a failure says of its replica: ``"busy"``, ``"gone"`` (its cache may be too), or None: nothing.

    A timeout that nothing on the wire caused was spent waiting for one of our own connections.
    """
    if isinstance(error, UpstreamBusy):
        return "busy"
    if isinstance(error, UpstreamUnreachable):
        return "gone"
    if isinstance(error, UpstreamStreamError):
        return None if error.status in _REQUESTS_FAULT else "gone"
    if isinstance(error, UpstreamTimeout):
        return None if error.__cause__ is None else "gone"
    return "busy" if isinstance(error, UpstreamServerError) and error.status in _GATEWAY_ERRORS else None


def wait_for_next(hopes: Mapping[str, float | None], *, rounds: int, random: float) -> float | None:
    """Seconds to wait when no replica has taken the request; None to give up.

    Args:
        hopes: the replicas that may take it then, with the seconds each asked to wait.
        rounds: how often all of them have refused before.
        random: a fresh number, 0 to 1.
    """
    asked = [seconds for seconds in hopes.values() if seconds is not None]
    soonest = min(asked) if len(asked) == len(hopes) else None
    return wait_before_retry(
        UpstreamBusy("", retry_after=soonest), tries=rounds + 1, max_retries=rounds + 1, random=random
    )


class Replicas:
    """Asks the replica that a router chooses, and another when it did not take the request.

    Args:
        upstreams: by the router's names; none repeats a request by itself.
        router: chooses; told of every request and failure.
        max_retries: tries after the first, on whichever replica.
        max_answer_bytes: as of the upstreams.
        on_return: called with a replica that answers again after it was gone.
    """

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        router: PrefixRouter,
        *,
        max_retries: int,
        max_answer_bytes: int,
        on_return: Callable[[str], None],
    ) -> None:
        self._upstreams: Final = upstreams
        self._router: Final = router
        self._max_retries: Final = max_retries
        self._max_answer_bytes: Final = max_answer_bytes
        self._on_return: Final = on_return
        self._gone: set[str] = set()  # replicas that have not answered since they were gone
        # Replaced by tests: what makes retries slow and different each time.
        self._sleep: Callable[[float], Awaitable[None]] = anyio.sleep
        self._random: Callable[[], float] = random.random
        self._now: Callable[[], float] = time.monotonic

    async def fetch(self, request: Request, prefix: bytes) -> Response:
        """The whole answer; raises as the replicas do."""

        async def ask(replica: str) -> Response:
            self._router.started(replica)
            try:
                response = await self._upstreams[replica].fetch(request)
            finally:
                self._router.finished(replica)
            self.ended(replica, None)
            return response

        return await self._placed(prefix, ask)

    async def stream(self, request: Request, prefix: bytes, on_usage: Callable[[Usage], None]) -> Stream:
        """The answer as it arrives; raises as the replicas do.

        Args:
            request: what to ask.
            prefix: its key.
            on_usage: told of the answer's usage once, when the stream is closed.
        """

        async def ask(replica: str) -> Stream:
            self._router.started(replica)
            try:
                stream = await self._upstreams[replica].stream(request)
            except BaseException:
                self._router.finished(replica)
                raise

            def over(usage: Usage) -> None:
                self._router.finished(replica)
                on_usage(usage)

            frames = WatchedFrames(stream, on_end=lambda error: self.ended(replica, error), on_close=over)
            return Stream(frames, aclose=frames.aclose, record_limit=self._max_answer_bytes)

        return await self._placed(prefix, ask)

    def choose(self, prefix: bytes, without: Collection[str] = ()) -> str:
        """The replica for a prefix, if possible none of those in ``without``.

        Raises:
            ConfigurationError: the router does not know these replicas, or knows others.
        """
        now = self._now()
        replica = self._router.choose(prefix, now=now, without=without) or self._router.choose(
            prefix, now=now
        )
        if replica is None or replica not in self._upstreams:
            raise ConfigurationError(f"router: it chose {replica!r}, which is none of base_urls")
        return replica

    def ended(self, replica: str, error: UpstreamError | None) -> None:
        """Take up how a request to a replica ended; None when it was answered."""
        if error is None:
            self._router.succeeded(replica)
            if replica in self._gone:
                self._gone.discard(replica)
                self._on_return(replica)
        elif (said := harm(error)) is not None:
            self._router.failed(replica, now=self._now())
            if said == "gone":
                self._gone.add(replica)

    async def _placed(self, prefix: bytes, ask: Callable[[str], Awaitable[_T]]) -> _T:
        refused: dict[str, float | None] = {}  # in this round, with the seconds each asked to wait
        unreachable: set[str] = set()  # in any round
        tries = rounds = 0
        while True:
            replica = self.choose(prefix, refused)
            try:
                return await ask(replica)
            except UpstreamError as error:
                self.ended(replica, error)
                tries += 1
                if tries > self._max_retries or not never_taken(error):
                    raise
                refused[replica] = error.retry_after
                if not isinstance(error, UpstreamBusy):
                    unreachable.add(replica)
                if not refused.keys() >= set(self._router.replicas):
                    continue
                # Who was only busy is the better hope.
                hopes = {name: refused[name] for name in refused.keys() - unreachable} or refused
                wait = wait_for_next(hopes, rounds=rounds, random=self._random())
                if wait is None:
                    raise
            rounds += 1
            # Nobody is asked earlier than it said.
            refused = {
                name: asked for name, asked in refused.items() if name not in hopes or (asked or 0.0) > wait
            }
            await self._sleep(wait)
