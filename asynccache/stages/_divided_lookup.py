"""Look all parts of a request up at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from asynccache._events import StageFailed
from asynccache._models import Candidate, Response, Source
from asynccache._protocols import Confirming, Feed
from asynccache._turn import LoopTurn
from asynccache.stages.validate import Validate

if TYPE_CHECKING:
    from asynccache._models import Entry
    from asynccache._protocols import Backend
    from asynccache.stages._divided_batch import Batch

__all__ = ["BatchLookup"]

LOOKS: Final = 256
"""Keys looked up at once: others use the store as well."""


class BatchLookup:
    """What ``ExactLookup`` and ``Validate`` do for one request, for all parts of a batch.

    Args:
        backend: where to look.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend: Final = backend
        self._feed: Final = backend if isinstance(backend, Feed) else None
        self._confirming: Final = backend if isinstance(backend, Confirming) else None
        self._validate: Final = Validate()
        self._turn: Final = LoopTurn()

    async def __call__(self, batch: Batch) -> None:
        """Answer what is stored and may be served, and take the fill tokens of all."""
        driver = batch.exchange.driver
        entries: list[Entry | None] = []
        try:
            entries = await self._entries(batch)
        except Exception as error:
            if driver.strict:
                raise
            driver.emit(StageFailed("Divided", error))
        entries += [None] * (len(batch.parts) - len(entries))
        now = driver.clock.now()
        for place, entry in enumerate(entries):
            part = batch.parts[place]
            if self._feed is not None:
                part = part.looked_up(self._feed.position(part.request.key))
            if entry is not None:
                found = part.proposing(Candidate(entry, Source.EXACT, max(0.0, now - entry.created_at)))
                part = await driver.run(found, (self._validate,))
                batch.note(found, part)
                if isinstance(part.answer, Response):
                    batch.answers[place] = part.answer
            batch.parts[place] = part
            if self._turn.due():
                await asyncio.sleep(0)

    async def _entries(self, batch: Batch) -> list[Entry | None]:
        """As far as there are any; none where none is wanted."""
        if batch.exchange.request.control.no_cache:
            return []
        look = self._backend.get_many
        if self._confirming is not None and batch.exchange.strong:
            look = self._confirming.confirmed
        keys = [part.request.key for part in batch.parts]
        found: list[Entry | None] = []
        for start in range(0, len(keys), LOOKS):
            found += await look(keys[start : start + LOOKS])
        return found
