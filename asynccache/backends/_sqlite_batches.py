"""Many works on one connection: each read for itself, writes in a transaction they share."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from asynccache.backends._sqlite_file import begin

__all__ = ["Call", "Outcome", "read_batch", "write_batch"]

Work: TypeAlias = "Callable[[sqlite3.Connection], Any]"
"""One operation; runs in the lane's thread, perhaps within a transaction shared with others."""

Outcome: TypeAlias = "tuple[Any, Exception | None]"
"""What a work returned, or None and what it raised."""

Call: TypeAlias = "tuple[asyncio.Future[Any], Work]"


def read_batch(connection: sqlite3.Connection, calls: Sequence[Call]) -> list[Outcome]:
    """Run each work on its own. Those nobody waits for any more are left out."""
    return [(None, None) if future.done() else _attempt(connection, work) for future, work in calls]


def write_batch(connection: sqlite3.Connection, calls: Sequence[Call]) -> list[Outcome]:
    """Run all works in one transaction, each in a savepoint: one that fails takes only its own changes along.

    Raises:
        sqlite3.Error: the transaction as a whole failed; nothing was changed.
    """
    outcomes: list[Outcome] = []
    begin(connection)
    try:
        if len(calls) == 1:  # by far the most frequent, and it needs no savepoint to be told from others
            result, error = _attempt(connection, calls[0][1])
            if error is not None:
                raise error
            connection.execute("COMMIT")
            return [(result, None)]
        for _, work in calls:
            connection.execute("SAVEPOINT work")
            result, error = _attempt(connection, work)
            if error is not None:
                if not connection.in_transaction:
                    raise error  # SQLite has rolled all of it back
                connection.execute("ROLLBACK TO work")
            connection.execute("RELEASE work")
            outcomes.append((result, error))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return outcomes


def _attempt(connection: sqlite3.Connection, work: Work) -> Outcome:
    try:
        return work(connection), None
    except Exception as error:  # noqa: BLE001  (a border: mapped by the lane)
        return None, error
