"""What an index reads from a backend: vectors in pages, and what has changed since."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from asynccache._errors import BackendError, BackendUnavailable
from asynccache._models import VectorRow
from asynccache._protocols import Vectors

if TYPE_CHECKING:
    from pathlib import Path

    from asynccache._models import VectorChanges
    from asynccache._protocols import Backend
    from asynccache.index._room import Place

__all__ = ["Source"]

_T = TypeVar("_T")

PATIENCE: Final = 30.0
"""Seconds a backend may take for one page; a sound one takes milliseconds."""
SCANNED: Final = 1000
"""Entries read at a time from a backend whose vectors cannot be read by themselves."""


class Source:
    """A backend as an index sees it. Raises BackendError and nothing else.

    Args:
        backend: with ``Vectors`` or without; without, nothing tells of changes.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend: Final = backend
        self._vectors: Final = backend if isinstance(backend, Vectors) else None

    @property
    def folder(self) -> Path | None:
        """Where the backend would have snapshots lie."""
        return None if self._vectors is None else self._vectors.index_folder

    @property
    def tells_changes(self) -> bool:
        """Whether there are cursors."""
        return self._vectors is not None

    async def changes(self, after: int | None) -> VectorChanges:
        """What has changed after a cursor; None: where the end is now. Only when it ``tells_changes``."""
        if self._vectors is None:
            raise BackendError("this backend does not tell what has changed")
        async with _asked():
            return await self._vectors.vector_changes(after)

    async def rows(self, place: Place) -> AsyncGenerator[list[VectorRow]]:
        """Every vector of a place, a page at a time. Close it when it is left early."""
        if self._vectors is None:
            async with aclosing(self._scanned(place)) as pages:
                async for rows in pages:
                    yield rows
            return
        after: int | None = 0
        while after is not None:
            async with _asked():
                page = await self._vectors.vectors(*place, after=after)
            yield page.rows
            after = page.after

    async def _scanned(self, place: Place) -> AsyncGenerator[list[VectorRow]]:
        partition, space = place
        async with aclosing(_closable(self._backend.scan(partition))) as entries:
            read = SCANNED
            while read == SCANNED:
                rows, read = [], 0
                async with _asked():
                    async for entry in entries:
                        read += 1
                        embedding = entry.embedding
                        if embedding is not None and embedding.space == space:
                            rows.append(VectorRow(entry.key, embedding.vector, entry.expires_at))
                        if read == SCANNED:
                            break
                yield rows


async def _closable(entries: AsyncIterator[_T]) -> AsyncGenerator[_T]:
    try:
        async for entry in entries:
            yield entry
    finally:
        if isinstance(entries, AsyncGenerator):
            await entries.aclose()


@asynccontextmanager
async def _asked() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except TimeoutError as error:
        raise BackendUnavailable(f"the backend did not answer the index within {PATIENCE:g} s") from error
    except BackendError:
        raise
    except Exception as error:
        raise BackendError(f"the backend broke its contract: {type(error).__name__}") from error
