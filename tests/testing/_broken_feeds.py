"""A plain store that numbers its changes, and stores that do so wrongly in one thing each."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from anyio.lowlevel import checkpoint

from asynccache._models import Change, Changes, Entry
from asynccache._protocols import Clock
from asynccache.backends._same_entry import same_entry

__all__ = ["BROKEN_FEEDS", "SEEN_BY_THE_MODEL", "Shelf"]

EVERYTHING: Final = "*"


@dataclass
class Contents:
    """What those share that were made with one folder."""

    entries: dict[bytes, Entry] = field(default_factory=dict)
    trail: list[Change] = field(default_factory=list)
    voids: dict[bytes | str, int] = field(default_factory=dict)
    first: int = field(default_factory=lambda: secrets.randbits(40) + 1)
    number: int = 0


SHELVES: dict[Path, Contents] = defaultdict(Contents)


class Shelf:
    """Keeps every promise of a ``Feed``."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.contents = SHELVES[folder]
        self.contents.number = self.contents.number or self.contents.first
        self.clock = clock
        self.known = self.contents.number
        self.told = asyncio.Event()

    def live(self, key: bytes) -> Entry | None:
        entry = self.contents.entries.get(key)
        return entry if entry is not None and entry.expires_at > self.clock.now() else None

    def next_number(self) -> int:
        self.contents.number += 1
        return self.contents.number

    def tell(self, key: bytes) -> int:
        number = self.next_number()
        self.contents.trail.append(Change(key, number))
        self.told.set()
        return number

    def void(self, subject: bytes | str) -> None:
        self.contents.voids[subject] = self.next_number()

    def keep(self, entry: Entry) -> int:
        number = self.tell(entry.key)
        self.contents.entries.pop(entry.key, None)
        self.contents.entries[entry.key] = replace(entry, generation=number)
        return number

    def drop(self, key: bytes) -> bool:
        live = self.live(key) is not None
        if self.contents.entries.pop(key, None) is not None:
            self.tell(key)
        return live

    def missed(self) -> None:
        self.known = self.contents.number

    async def get(self, key: bytes) -> Entry | None:
        found = self.live(key)
        if found is None:
            self.missed()
        return found

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        return [await self.get(key) for key in keys]

    async def put(self, entry: Entry) -> None:
        await self.fill(entry, since=None)

    async def add(self, entry: Entry) -> bool:
        return self.live(entry.key) is None and self.keep(entry) > 0

    async def remove(self, entry: Entry) -> bool:
        found = self.live(entry.key)
        if found is None or not same_entry(found, entry):
            return False
        self.void(entry.key)
        return self.drop(entry.key)

    async def delete(self, keys: Collection[bytes]) -> int:
        for key in keys:
            self.void(key)
        return sum([self.drop(key) for key in keys])

    async def delete_tagged(self, tags: Collection[str]) -> int:
        for tag in tags:
            self.void(tag)
        doomed = [key for key, entry in self.contents.entries.items() if set(tags) & set(entry.tags)]
        return sum([self.drop(key) for key in doomed])

    async def clear(self) -> int:
        self.void(EVERYTHING)
        return sum([self.drop(key) for key in tuple(self.contents.entries)])

    async def scan(self, partition: bytes | None = None) -> AsyncIterator[Entry]:
        for entry in sorted(self.contents.entries.values(), key=lambda entry: entry.created_at):
            if partition in (None, entry.partition) and self.live(entry.key) is not None:
                yield entry

    def position(self, key: bytes) -> int:
        return self.known

    def is_voided(self, key: bytes, tags: Collection[str], since: int) -> bool:
        subjects: list[bytes | str] = [EVERYTHING, key, *tags]
        return any(self.contents.voids.get(subject, 0) > since for subject in subjects)

    async def fill(self, entry: Entry, *, since: int | None) -> asyncio.Future[int | None]:
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        late = since is not None and self.is_voided(entry.key, entry.tags, since)
        future.set_result(None if late else self.keep(entry))
        return future

    async def generations(self, keys: Sequence[bytes]) -> list[int | None]:
        found = [self.live(key) for key in keys]
        return [None if entry is None else entry.generation for entry in found]

    async def voided(self, key: bytes, tags: Collection[str], since: int) -> bool:
        return self.is_voided(key, tags, since)

    async def changes(self, after: int | None) -> Changes:
        number = self.contents.number
        if after is None or not self.contents.first <= after <= number:
            return Changes([], number, more=False, gap=after is not None)
        rest = [change for change in self.contents.trail if change.number > after]
        if len(rest) > 100:
            return Changes(rest[:100], rest[99].number, more=True)
        return Changes(rest, number, more=False)

    async def news(self, seconds: float) -> None:
        self.told.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.told.wait()


class NumbersEntriesAnew(Shelf):
    """As a counter beside the one of the changes."""

    async def generations(self, keys: Sequence[bytes]) -> list[int | None]:
        return [None if number is None else number + 1 for number in await super().generations(keys)]


class AddsInSilence(Shelf):
    async def add(self, entry: Entry) -> bool:
        if self.live(entry.key) is not None:
            return False
        self.contents.entries[entry.key] = replace(entry, generation=self.next_number())
        return True


class RemovesInSilence(Shelf):
    async def remove(self, entry: Entry) -> bool:
        found = self.live(entry.key)
        if found is None or not same_entry(found, entry):
            return False
        self.void(entry.key)
        return self.contents.entries.pop(entry.key, None) is not None


class TellsOnePage(Shelf):
    async def changes(self, after: int | None) -> Changes:
        return (await super().changes(after))._replace(more=False)


class TakesAnyCursorOfAFeed(Shelf):
    async def changes(self, after: int | None) -> Changes:
        return (await super().changes(after))._replace(gap=False)


class ForgetsItsFeed(Shelf):
    """When it is reopened."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(folder, clock)
        self.contents.trail.clear()


class FollowsItselfOnly(Shelf):
    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(folder, clock)
        self.own: set[int] = set()

    def tell(self, key: bytes) -> int:
        number = super().tell(key)
        self.own.add(number)
        return number

    async def changes(self, after: int | None) -> Changes:
        told = await super().changes(after)
        return told._replace(changes=[change for change in told.changes if change.number in self.own])


class WaitsTheWholeTime(Shelf):
    async def news(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class KeepsItsFeedLock(Shelf):
    held = False

    async def changes(self, after: int | None) -> Changes:
        if self.held:
            raise TimeoutError("waited for a lock that nobody will release")
        self.held = True
        await checkpoint()
        self.held = False
        return await super().changes(after)


class MarksWhatIsThere(Shelf):
    async def delete(self, keys: Collection[bytes]) -> int:
        return await super().delete([key for key in keys if key in self.contents.entries])


class MarksNoTags(Shelf):
    def void(self, subject: bytes | str) -> None:
        if subject == EVERYTHING or isinstance(subject, bytes):
            super().void(subject)


class NeverMovesOn(Shelf):
    """Its position is the one of the opening."""

    def missed(self) -> None:
        pass


class RemovesWithoutAMark(Shelf):
    async def remove(self, entry: Entry) -> bool:
        found = self.live(entry.key)
        return found is not None and same_entry(found, entry) and self.drop(entry.key)


class TakesEveryChangeForAnInvalidation(Shelf):
    def tell(self, key: bytes) -> int:
        self.void(key)
        return super().tell(key)


class InvalidatesLater(Shelf):
    """Its marks are made after it has returned."""

    def void(self, subject: bytes | str) -> None:
        asyncio.get_running_loop().call_later(0.01, Shelf.void, self, subject)


class TearsFills(Shelf):
    """A cancelled fill leaves an entry with a number that was never told."""

    async def fill(self, entry: Entry, *, since: int | None) -> asyncio.Future[int | None]:
        future = await super().fill(entry, since=since)
        stored = self.contents.entries.get(entry.key)
        if stored is not None:
            self.contents.entries[entry.key] = replace(stored, response=replace(stored.response, body=b""))
            await checkpoint()
            self.contents.entries[entry.key] = stored
        return future


BROKEN_FEEDS: dict[type[Shelf], str] = {
    NumbersEntriesAnew: "test_generation_is_that_of_what_is_stored_now",
    AddsInSilence: "test_every_way_to_store_is_told",
    RemovesInSilence: "test_every_way_to_remove_is_told",
    TellsOnePage: "test_changes_of_one_key_are_told_in_order_from_the_cursor_on",
    TakesAnyCursorOfAFeed: "test_cursor_of_another_store_is_a_gap_in_the_feed",
    ForgetsItsFeed: "test_cursor_of_the_feed_outlives_the_lifespan",
    FollowsItselfOnly: "test_each_of_two_is_told_what_the_other_changes",
    WaitsTheWholeTime: "test_news_comes_when_something_is_stored_or_the_time_is_over",
    KeepsItsFeedLock: "test_cancelled_look_at_the_feed_leaves_it_usable",
    MarksWhatIsThere: "test_answer_asked_for_before_an_invalidation_is_not_stored_after",
    MarksNoTags: "test_answer_asked_for_before_an_invalidation_is_not_stored_after",
    NeverMovesOn: "test_answer_asked_for_after_an_invalidation_is_stored",
    RemovesWithoutAMark: "test_removed_entry_voids_an_answer_asked_for_before",
    TakesEveryChangeForAnInvalidation: "test_nothing_but_an_invalidation_of_its_own_voids",
    InvalidatesLater: "test_no_answer_is_ever_stored_after_an_invalidation_it_does_not_know_of",
    TearsFills: "test_cancelled_fill_stores_all_or_nothing",
}

SEEN_BY_THE_MODEL = {NumbersEntriesAnew, NeverMovesOn}
