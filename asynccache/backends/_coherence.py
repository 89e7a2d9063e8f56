"""Keeps the memory in front of a store to what the store's feed tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Final

from asynccache._errors import BackendError
from asynccache.backends._claim import Claim
from asynccache.backends._feed_follower import FeedFollower

if TYPE_CHECKING:
    from asyncio import Future

    from asynccache._models import Change, Entry
    from asynccache._protocols import Feed
    from asynccache.backends.memory import MemoryBackend

__all__ = ["Coherence"]


class Coherence:
    """What a ``Tiered`` does over a back that is a ``Feed``; front, claims and puts are shared with it.

    Args:
        front: the memory.
        feed: the store behind it.
        claims: who may fill the front, by key.
        puts: writes under way, by key.
        keep: puts an entry into the front, and returns what it holds.
    """

    def __init__(
        self,
        front: MemoryBackend,
        feed: Feed,
        *,
        claims: dict[bytes, Claim],
        puts: Counter[bytes],
        keep: Callable[[Entry], Entry],
    ) -> None:
        self._front: Final = front
        self._held: Final = front.peek
        self._feed: Final = feed
        self._claims: Final = claims
        self._puts: Final = puts
        self._keep: Final = keep
        self._unknown: Final[set[bytes]] = set()  # keys kept without a generation; some may have one by now
        self._dropped = 0
        self.told = False
        """Whether every change is told sooner or later: else the front must not be filled."""
        self._follower: Final = FeedFollower(
            feed, on_changes=self._changed, on_start=self._start, on_end=self._end
        )

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Follow the feed; front and back must be open."""
        return self._follower.lifespan()

    def measure(self) -> Mapping[str, int]:
        """How many entries of the front the feed dropped, and how many gaps it had."""
        return {"feed_dropped": self._dropped, "feed_gaps": self._follower.gaps}

    async def _start(self) -> None:
        self._claims.clear()
        await self._front.clear()
        self.told = True

    async def _end(self) -> None:
        self.told = False
        self._claims.clear()
        await self._front.clear()

    def _changed(self, changes: Sequence[Change]) -> None:
        for key, number in changes:
            if not key:
                self._drop_unknown(number)
                continue
            claim = self._claims.get(key)
            if claim is not None:
                claim.tell(number)
            held = self._held(key)
            if held is None or (claim is not None and claim.kept is held):
                continue
            if held.generation is None or held.generation < number:
                self._front.drop([key])
                self._dropped += 1

    def _drop_unknown(self, number: int) -> None:
        """Something was invalidated by what only the store can look up: what it lacks may be among it."""
        for claim in self._claims.values():
            if claim.writing is not None:
                claim.tell(number)
        for key in self._unknown:
            held = self._held(key)
            if held is not None and held.generation is None:
                self._front.drop([key])
                self._dropped += 1
        self._unknown.clear()

    def _keep_unknown(self, entry: Entry) -> Entry:
        """Keep what the store does not hold, or not yet."""
        self._unknown.add(entry.key)
        return self._keep(entry)

    def _is_recent(self, key: bytes, since: int | None) -> bool:
        """Whether nothing may have been invalidated since a token was taken, as far as is known here."""
        return since is None or since == self._feed.position(key)

    async def confirmed(self, held: Sequence[Entry]) -> dict[bytes, Entry | None]:
        """Those of these entries of the front that the back holds now, by key; the others are dropped."""
        generations = await self._feed.generations([entry.key for entry in held])
        confirmed: dict[bytes, Entry | None] = {}
        for entry, generation in zip(held, generations, strict=True):
            if entry.generation == generation:
                confirmed[entry.key] = entry
            elif self._held(entry.key) is entry:
                self._front.drop([entry.key])
        return confirmed

    async def fill(self, entry: Entry, *, since: int | None) -> Future[int | None]:
        """Store in the back; the front has it meanwhile, and after that if it is what the back holds."""
        key = entry.key
        claim = self._claims[key] = Claim(entry)
        self._puts[key] += 1
        try:
            stored = await self._feed.fill(entry, since=since)
        except BackendError:
            if self._over(key, claim) and claim.told is None and self._is_recent(key, since):
                self._keep_unknown(entry)
            raise
        except BaseException:
            # Cancelled: nobody will say what became of it.
            if self._over(key, claim):
                self._front.drop([key])
            raise
        if stored.done():
            self._settle(claim, entry, since, stored)
        else:
            if self.told and self._claims.get(key) is claim and self._is_recent(key, since):
                claim.kept = self._keep_unknown(entry)
            stored.add_done_callback(partial(self._settle, claim, entry, since))
        return stored

    def _settle(self, claim: Claim, entry: Entry, since: int | None, stored: Future[int | None]) -> None:
        """The back has stored what was written, or has not."""
        key, kept = entry.key, claim.kept
        failed = stored.cancelled() or stored.exception() is not None
        may_fill = self._over(key, claim)
        if kept is not None and self._held(key) is not kept:
            return
        if not may_fill:
            # Left over from before the claim was lost. If it was voided, no change would ever tell.
            if kept is not None:
                self._front.drop([key])
            return
        generation = None if failed else stored.result()
        if failed and claim.told is None and (kept is not None or self._is_recent(key, since)):
            if kept is None:
                self._keep_unknown(entry)
        elif generation is not None and claim.allows(generation):
            if self.told:
                self._keep(entry.numbered(generation))
        else:  # voided, say: then what the front had before was invalidated as well
            self._front.drop([key])

    def _over(self, key: bytes, claim: Claim) -> bool:
        """A write is over; whether it still had leave to fill the front."""
        self._puts[key] -= 1
        if not self._puts[key]:
            del self._puts[key]
        if self._claims.get(key) is not claim:
            return False
        del self._claims[key]
        return True
