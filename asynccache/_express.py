"""The short way of a hit that is at hand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from asynccache._outcome import AtHand, addressed
from asynccache.stages.validate import lacking

if TYPE_CHECKING:
    from asynccache._driver import StageDriver
    from asynccache._keys import Keyring
    from asynccache._models import Mode, Scope
    from asynccache._outcome import Prices
    from asynccache._protocols import Instant, Upstream

__all__ = ["Express"]


class Express:
    """What the standard chain's first stages decide of a request without control, decided in one go.

    The same key, the same store, the same checks as on the long way, but nothing is made that only a stage
    would look at, and no coroutine: a fifth of the cost. It answers only what is plain (a spelling seen
    before, an entry in memory that passes) and leaves everything else to the stages.

    Args:
        keyring: what ``Normalize`` uses.
        memory: what ``ExactLookup`` looks into.
        driver: time, counters, events and the failure policy.
        prices: of the outcomes.
    """

    def __init__(self, keyring: Keyring, memory: Instant, driver: StageDriver, prices: Prices) -> None:
        self._recall: Final = keyring.recall
        self._at_hand: Final = memory.at_hand
        self._driver: Final = driver
        self._now: Final = driver.clock.now
        self._prices: Final = prices
        # Set by open and close. To ask for the running loop would be a system call, made to notice a fork.
        self._thread: int | None = None
        self._running: Callable[[], bool] = _never

    def open(self) -> None:
        """Give out hits from now on, in this thread, while this loop is running."""
        self._thread, self._running = get_ident(), asyncio.get_running_loop().is_running
        _open.add(self)

    def close(self) -> None:
        """Give out no more hits."""
        self._thread, self._running = None, _never
        _open.discard(self)

    def hit(
        self,
        mode: Mode,
        body: Mapping[str, Any],
        scope: Scope,
        dialect: str = "chat.completions",
        upstream: Upstream | None = None,
    ) -> AtHand | None:
        """The outcome, counted and told to those who listen; None: take the long way."""
        if get_ident() != self._thread or not self._running():
            return None
        driver = self._driver
        started = driver.clock.monotonic() if driver.watched else 0.0
        try:
            found = self._recall(dialect, scope, body)
            if found is None or found.uncacheable is not None:
                return None
            entry = self._at_hand(found.key)
            if entry is None:
                return None
            age = self._now() - entry.created_at
            age = age if age > 0.0 else 0.0  # noqa: FURB136  (max costs more)
            ttl, answer = entry.ttl, entry.response
            # The entry checks, as far as this request can fail them.
            if (ttl is not None and age >= ttl) or entry.key != found.key or entry.alias is not None:
                return None
            if found.repeats:
                answer = addressed(dialect, body, answer)
            hit = AtHand(body, scope, dialect, upstream, found, entry, age, answer.body, self._prices)
            if (upstream is not None or "stream_options" in body) and lacking(hit.request, entry.response):
                return None
        except Exception as error:  # noqa: BLE001  (law: a failure of the cache is not the caller's)
            driver.stage_failed(self, error)
            return None
        if driver.watched:
            driver.served(hit, mode, started)
        else:  # the same for nobody to hear, at a quarter of the cost
            driver.counts.sources["exact"] += 1
        return hit


_open: Final[WeakSet[Express]] = WeakSet()  # changed by open and close


def _never() -> bool:
    return False


def _forked() -> None:
    """A child process has the thread, but not the loop."""
    for express in list(_open):
        express.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
