"""Entries in one SQLite file, shared by any number of processes on one machine."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from asynccache._clock import SystemClock
from asynccache._errors import BackendError, BackendUnavailable, ConfigurationError
from asynccache._judging import Label, LabelPage
from asynccache._lifespan import Nursery, SharedLifespan
from asynccache._models import Changes, Entry, VectorChanges, VectorGroup, VectorPage
from asynccache._protocols import Clock
from asynccache.backends._fork import watch_forks
from asynccache.backends._sqlite_batches import read_batch, write_batch
from asynccache.backends._sqlite_file import SqliteFile
from asynccache.backends._sqlite_lane import Lane
from asynccache.backends._sqlite_news import News
from asynccache.backends._sqlite_rows import Damaged, Place, Rows
from asynccache.backends._sqlite_upkeep import Upkeep
from asynccache.backends._sqlite_vectors import DamagedVector
from asynccache.backends._stored_label import encode_label

__all__ = ["SqliteBackend"]

T = TypeVar("T")

_SMALLEST: Final = 2**18  # bytes; below, the tables' own pages leave no room worth the name
_BEHIND: Final = 1024  # entries written behind at a time; from then on a put waits for its own commit
_POLL: Final = 0.5  # seconds between looks for what other processes have changed; SQLite tells nobody


class SqliteBackend:
    """A store in one SQLite file. Must be open (``lifespan()``) to be used.

    Commits survive a crash of the process; a power cut may take the last ones back, never damage the
    file. A damaged file is renamed to ``<name>.corrupt-<time>`` and a new one started. Trouble with the
    file (locked, read-only, disk full, newer schema) is a ``BackendUnavailable`` for each operation and
    passes by itself; opening is tried again at most once a second. The file must be on a local disk:
    SQLite's WAL needs memory shared by all its users. Every change is numbered, in the order of the
    commits of all processes.

    Args:
        path: the database file, made with mode 0600 when missing, like its directories (0700). Beside
            it stand ``-wal``, ``-shm`` and ``-lock``, and ``-index`` where an index keeps snapshots.
        max_bytes: limit of the database file's used pages, vectors included, at least 256 KiB; the
            oldest entries give way. One entry may take at most half.
        write_behind: let ``put`` return once the entry is queued. It may then not be found by a ``get``
            until written, and is lost without an error when writing fails (``measure()`` counts
            ``write_errors``). ``flush()`` waits for all; closing writes all.
        busy_timeout: seconds to wait for another process's lock, above 0; tried three times.
        op_timeout: seconds one read may take, above 0, before it raises ``BackendUnavailable``.
        sweep_interval: seconds between searches for expired entries to delete, above 0. (They are
            never returned, deleted or not.)
        clock: where time comes from.

    Raises:
        ConfigurationError: an option can never work.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 2**30,
        write_behind: bool = False,
        busy_timeout: float = 10.0,
        op_timeout: float = 1.0,
        sweep_interval: float = 60.0,
        clock: Clock | None = None,
    ) -> None:
        if max_bytes < _SMALLEST:
            raise ConfigurationError(f"max_bytes={max_bytes!r}: at least {_SMALLEST} bytes are needed")
        options = {"busy_timeout": busy_timeout, "op_timeout": op_timeout, "sweep_interval": sweep_interval}
        for name, seconds in options.items():
            if not 0 < seconds < float("inf"):
                raise ConfigurationError(f"{name}={seconds!r}: expected a positive number of seconds")
        self._clock: Final = clock if clock is not None else SystemClock()
        self._write_behind: Final = write_behind
        self._op_timeout: Final = op_timeout
        self._sweep_interval: Final = sweep_interval
        self._file: Final = SqliteFile(
            _checked(path), busy_timeout=busy_timeout, monotonic=self._clock.monotonic
        )
        self._rows: Final = Rows(self._file.path, max_bytes=max_bytes)
        self._upkeep: Final = Upkeep(self._file, self._rows, self._clock)
        self._news: Final = News()
        self._reader: Final = Lane(self._file, read_only=True, run=read_batch)
        self._writer: Final = Lane(
            self._file,
            read_only=False,
            run=write_batch,
            between=self._upkeep,
            at_end=self._upkeep.latch.release,
            settled=self._news.tell,
        )
        # Changed on the event loop only:
        self._open = False
        self._behind = 0
        self._write_errors = 0
        self._damaged = 0
        self._position = 0  # of the file last looked at; set, not raised: another's may begin lower
        self._new_lifespan()
        watch_forks(self)

    def _new_lifespan(self) -> None:
        self._lifespan = SharedLifespan(self._opening)
        self._nursery = Nursery(_ignore)  # its one child, the upkeep, raises nothing

    def __repr__(self) -> str:
        return f"<SqliteBackend {str(self._file.path)!r}>"

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Open with the first user, close with the last. A file that cannot be opened is no error here."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        self._open = True
        try:
            async with self._nursery.lifespan():
                # Migrates now rather than in the first request; a failure is that of each operation.
                with suppress(BackendError):
                    await self._writer.ask(_nothing, within=self._op_timeout)
                with suppress(BackendError):
                    self._position = await self._read(self._rows.changes.voids.newest)
                self._nursery.start(
                    partial(self._upkeep.keep_up, self._writer.nudge, sweep_interval=self._sweep_interval)
                )
                yield
        finally:
            self._open = False
            # Both are on their way before the first wait: a cancellation cannot stop them any more.
            reader = self._reader.closing()
            writer = self._writer.closing(after=reader)
            await reader.wait()
            await writer.wait()

    # Reading

    async def get(self, key: bytes) -> Entry | None:
        """The entry under a 32-byte key, without its embedding, or None when absent or expired.

        Raises:
            BackendUnavailable: not open, or not readable within ``op_timeout``.
            CorruptEntry: what was stored is damaged; it has been removed, and the next get is a miss.
        """
        found = await self._read(partial(self._rows.look, key=key, now=self._clock.now()))
        if isinstance(found, Entry):
            return found
        if isinstance(found, Damaged):
            await self._remove_damaged(found)
            raise found.error
        self._position = found.position
        return None

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """As ``get``, for several keys at once; same order, same length. Raises as ``get``."""
        found, missing = await self._read(
            partial(self._rows.look_at_many, keys=tuple(keys), now=self._clock.now())
        )
        if missing is not None:
            self._position = missing.position
        damaged = [each for each in found if isinstance(each, Damaged)]
        if damaged:
            await self._remove_damaged(*damaged)
            raise damaged[0].error
        return [each for each in found if not isinstance(each, Damaged)]

    async def scan(self, partition: bytes | None = None) -> AsyncIterator[Entry]:
        """Every live entry, with its embedding, oldest first. Raises as ``get``.

        Damaged ones are removed and left out; of one with a damaged vector, only the vector.
        """
        after: Place | None = (float("-inf"), 0)
        while after is not None:
            page = await self._read(
                partial(self._rows.page, partition=partition, after=after, now=self._clock.now())
            )
            for each in page.found:
                if isinstance(each, Entry):
                    yield each
                else:
                    await self._remove_damaged(each)
            after = page.after

    async def measure(self) -> Mapping[str, int]:
        """Live ``entries`` and their ``bytes``; ``file_bytes`` on disk; and what this object counted.

        That is: ``evictions``, ``expired`` entries deleted, ``damaged`` entries and vectors found, files
        ``set_aside``, and ``write_errors`` of entries written behind.
        """
        entries, size, on_disk = await self._read(self._measured)
        return {
            "entries": entries,
            "bytes": size,
            "file_bytes": on_disk,
            "evictions": self._rows.evictions,
            "expired": self._rows.expired,
            "damaged": self._damaged,
            "set_aside": self._file.set_aside_count,
            "write_errors": self._write_errors,
        }

    def _measured(self, connection: sqlite3.Connection) -> tuple[int, int, int]:
        return (*self._rows.measure(connection, self._clock.now()), self._file.size())

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()
        return await self._reader.ask(work, within=self._op_timeout)

    async def _remove_damaged(self, *damaged: Damaged | DamagedVector) -> None:
        self._damaged += len(damaged)
        with suppress(BackendError):  # that the entry is damaged is the news; it will be found again
            for each in damaged:
                await self._writer.ask(each.remove, within=self._op_timeout)

    # Reading vectors

    @property
    def index_folder(self) -> Path:
        """A folder beside the file; not made here."""
        return self._file.path.with_name(f"{self._file.path.name}-index")

    async def vector_groups(self) -> list[VectorGroup]:
        """How many vectors there are of each partition and space. Raises as ``get``."""
        return await self._read(self._rows.vectors.groups)

    async def vectors(self, partition: bytes, space: bytes, *, after: int = 0) -> VectorPage:
        """Some vectors of a partition; damaged ones are removed and left out. Raises as ``get``."""
        page, damaged = await self._read(
            partial(self._rows.vectors.page, partition=partition, space=space, after=after)
        )
        await self._remove_damaged(*damaged)
        return page

    async def vector_changes(self, after: int | None) -> VectorChanges:
        """What has changed after a cursor, in this process or another. Raises as ``get``.

        The last 100,000 changes are known (fewer in a store of less than 220 MB), across reopening. A
        file that takes the place of another knows nothing of the other's cursors.
        """
        changes, damaged = await self._read(partial(self._rows.vectors.changes, after=after))
        await self._remove_damaged(*damaged)
        return changes

    # What has changed

    def position(self, key: bytes) -> int:  # noqa: ARG002  (one numbering for all keys)
        """A fill token, as of the last read that found nothing, ``changes``, invalidation or opening."""
        return self._position

    async def generations(self, keys: Sequence[bytes]) -> list[int | None]:
        """The generation of what is stored under each key now; None for nothing. Raises as ``get``."""
        return await self._read(
            partial(self._rows.changes.generations, keys=tuple(keys), now=self._clock.now())
        )

    async def voided(self, key: bytes, tags: Collection[str], since: int) -> bool:
        """Whether that key or one of the tags was invalidated after a position. Raises as ``get``.

        The last 100,000 invalidations are known (fewer in a store of less than 220 MB), across reopening;
        whatever was before may have been.
        """
        return await self._read(
            partial(self._rows.changes.voids.since, key=key, tags=tuple(tags), number=since)
        )

    async def changes(self, after: int | None) -> Changes:
        """What has changed after a cursor, in this process or another. Raises as ``get``.

        The last 100,000 changes are known (fewer in a store of less than 100 MB), across reopening.
        """
        changes, self._position = await self._read(partial(self._rows.changes.read, after=after))
        return changes

    async def news(self, seconds: float) -> None:
        """Return once this object has written, or after half a second, or ``seconds`` if that is less.

        Raises:
            BackendUnavailable: not open.
        """
        self._check_open()
        await self._news.wait(min(seconds, _POLL))

    # Writing

    async def put(self, entry: Entry) -> None:
        """Store, replacing; committed on return, unless writing behind.

        Raises:
            BackendUnavailable: not open, locked, read-only, or the disk is nearly full.
            BackendError: this entry can never be stored (too large, or a field has no stored form).
        """
        await self.fill(entry, since=None)

    async def fill(self, entry: Entry, *, since: int | None) -> asyncio.Future[int | None]:
        """As ``put``, unless the key or one of the entry's tags was invalidated after a position.

        The future has come to its end on return, unless writing behind. Raises as ``put``.
        """
        future = self._submit_write(partial(self._rows.fill, entry=entry, since=since))
        if self._write_behind and self._behind < _BEHIND:
            self._behind += 1
            future.add_done_callback(self._written_behind)
        else:
            await future
        return future

    def _written_behind(self, future: asyncio.Future[int | None]) -> None:
        self._behind -= 1
        if not future.cancelled() and future.exception() is not None:
            self._write_errors += 1

    async def put_labels(self, labels: Sequence[Label]) -> None:
        """Keep labels, committed on return.

        The last 100,000 (fewer in a small store) are kept, and as many of those that callers gave.

        Raises:
            BackendUnavailable: as ``put``.
            BackendError: one of them has no stored form.
        """
        try:
            values = [(label.lasting, encode_label(label)) for label in labels]
        except ValueError as error:
            raise BackendError(f"these labels cannot be stored: {error}") from error
        await self._submit_write(partial(self._rows.put_labels, values=values))

    async def labels(self, after: int) -> LabelPage:
        """Labels stored after a cursor, by this process or another. Raises as ``get``."""
        return await self._read(partial(self._rows.labels.page, after=after))

    async def flush(self) -> None:
        """Wait until all that was put before is committed (or counted in ``write_errors``).

        Raises:
            BackendUnavailable: nothing can be written now.
        """
        await self._submit_write(_nothing)  # the queue keeps its order

    async def add(self, entry: Entry) -> bool:
        """As ``put``, unless a live entry is there, of this process or another; whether it was stored.

        Committed on return, also when writing behind. Raises as ``put``.
        """
        return await self._submit_write(partial(self._rows.add, entry=entry, now=self._clock.now()))

    async def remove(self, entry: Entry) -> bool:
        """Delete, if the row still holds this very entry, its embedding aside; whether. Raises as ``put``."""
        return await self._invalidate(partial(self._rows.remove, entry=entry, now=self._clock.now()))

    async def delete(self, keys: Collection[bytes]) -> int:
        """Remove; the number of entries that were there. Raises as ``put``."""
        return await self._invalidate(partial(self._rows.delete, keys=tuple(keys), now=self._clock.now()))

    async def delete_tagged(self, tags: Collection[str]) -> int:
        """Remove entries carrying any of the tags; the number removed. Raises as ``put``."""
        tags = tuple(tags)
        last = await self._invalidate(partial(self._rows.void_tags, tags=tags))
        return sum(
            [
                await self._delete_chunks(partial(self._rows.delete_tagged_chunk, tag=tag, last=last))
                for tag in tags
            ]
        )

    async def clear(self) -> int:
        """Remove every entry, and all labels; the number of entries removed. Raises as ``put``."""
        last = await self._invalidate(self._rows.void_everything)
        return await self._delete_chunks(partial(self._rows.delete_chunk, last=last))

    async def _invalidate(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a write that leaves marks: whoever asks for an answer after this knows of them."""
        result, self._position = await self._submit_write(partial(self._rows.changes.voids.after, work=work))
        return result

    async def _delete_chunks(self, chunk: Callable[..., tuple[int, int]]) -> int:
        """Delete in many short transactions rather than one that keeps everybody waiting."""
        total = 0
        deleted = 1
        while deleted:
            deleted, live = await self._submit_write(partial(chunk, now=self._clock.now()))
            total += live
        return total

    def _submit_write(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        self._check_open()
        return self._writer.submit(work)

    def _check_open(self) -> None:
        if not self._open:
            raise BackendUnavailable(f"{self!r} is not open; use it within `async with backend.lifespan()`")

    # Around a fork

    def before_fork(self) -> None:
        """Close the connections, which must not be inherited; private to the library."""
        self._reader.before_fork()
        self._writer.before_fork()
        self._upkeep.latch.release()

    def after_fork_in_parent(self) -> None:
        """Go on; private to the library."""
        self._reader.after_fork_in_parent()
        self._writer.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Start afresh: usable if the parent had it open, and closed by a lifespan of its own."""
        self._reader.after_fork_in_child()
        self._writer.after_fork_in_child()
        self._behind = 0
        self._news.after_fork_in_child()
        self._new_lifespan()


def _checked(path: str | os.PathLike[str]) -> Path:
    name = os.fspath(path)
    if not name or name.startswith((":", "file:")) or "\0" in name:
        raise ConfigurationError(
            f"path={name!r}: expected the path of a file; for entries in memory use MemoryBackend"
        )
    return Path(name).expanduser().absolute()


def _ignore(error: Exception) -> None:
    pass


def _nothing(connection: sqlite3.Connection) -> None:
    """A write that changes nothing: it passes when all before it have."""
