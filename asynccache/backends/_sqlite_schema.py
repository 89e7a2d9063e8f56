"""The tables, and the way from every older version of them to the present one."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from typing import Final

from asynccache._errors import BackendUnavailable

__all__ = ["APPLICATION_ID", "MIGRATIONS", "migrate", "outdated"]

APPLICATION_ID: Final = 0x41434345
"""Marks a file as ours ("ACCE"), so that another program's database is never touched."""


def _create(connection: sqlite3.Connection) -> None:
    """0 to 1: an empty file becomes a store.

    A plain rowid table: values are far larger than what WITHOUT ROWID is good for. ``expires_at`` is
    infinity for entries that never expire. The index on it also holds ``size``, so that counting and
    summing live entries never reads the values; those on ``created_at`` serve eviction and ``scan``.
    """
    connection.execute(
        """
        CREATE TABLE entries (
            id INTEGER PRIMARY KEY,
            key BLOB NOT NULL UNIQUE,
            partition BLOB NOT NULL,
            created_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            size INTEGER NOT NULL,
            value BLOB NOT NULL
        )
        """
    )
    connection.execute("CREATE INDEX entries_by_expiry ON entries (expires_at, size)")
    connection.execute("CREATE INDEX entries_by_age ON entries (created_at)")
    connection.execute("CREATE INDEX entries_by_partition ON entries (partition, created_at)")
    connection.execute(
        """
        CREATE TABLE tags (
            tag TEXT NOT NULL,
            entry INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
            PRIMARY KEY (tag, entry)
        ) WITHOUT ROWID
        """
    )
    connection.execute("CREATE INDEX tags_by_entry ON tags (entry)")


def _add_vectors(connection: sqlite3.Connection) -> None:
    """1 to 2: vectors, apart from the answers so that reading the one never reads the other.

    They repeat the partition, key and expiry of their entry, for the same reason. They go with it: by
    the foreign key, which REPLACE heeds as well. (It would pass over a delete trigger on ``entries``.)

    The triggers leave a trail of every vector that comes, changes or goes. Its numbers begin at random,
    so that one taken from another file is found out.
    """
    connection.execute(
        """
        CREATE TABLE vectors (
            entry INTEGER PRIMARY KEY REFERENCES entries (id) ON DELETE CASCADE,
            partition BLOB NOT NULL,
            space BLOB NOT NULL,
            key BLOB NOT NULL,
            expires_at REAL NOT NULL,
            vector BLOB NOT NULL
        )
        """
    )
    connection.execute("CREATE INDEX vectors_by_partition ON vectors (partition, space)")
    connection.execute(
        """
        CREATE TABLE vector_changes (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            partition BLOB NOT NULL,
            space BLOB NOT NULL,
            key BLOB NOT NULL
        )
        """
    )
    connection.execute(
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('vector_changes', ?)",
        (2**40 + secrets.randbits(40),),
    )
    tell = "INSERT INTO vector_changes (partition, space, key) VALUES ({0}.partition, {0}.space, {0}.key);"
    old, new = tell.format("old"), tell.format("new")
    for name, event, told in (
        ("vector_stored", "INSERT", new),
        ("vector_changed", "UPDATE", old + new),
        ("vector_removed", "DELETE", old),
    ):
        connection.execute(f"CREATE TRIGGER {name} AFTER {event} ON vectors BEGIN {told} END")


def _add_labels(connection: sqlite3.Connection) -> None:
    """2 to 3: labels of near questions, in the order of their commits.

    Apart from the entries: a question that is answered anew is still that question. What callers have said
    is lasting: the many labels of misses do not push it out. The numbers begin at
    random, so that one taken from another file is found out.
    """
    connection.execute(
        """
        CREATE TABLE labels (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            lasting INTEGER NOT NULL,
            value BLOB NOT NULL
        )
        """
    )
    connection.execute("CREATE INDEX labels_by_lasting ON labels (lasting, seq)")
    connection.execute(
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('labels', ?)", (2**40 + secrets.randbits(40),)
    )


def _add_feed(connection: sqlite3.Connection) -> None:
    """3 to 4: a trail of every entry that is stored or goes, and marks of what was invalidated.

    The id of an entry is the number of the change that stored it: larger than every one before, so no
    column is needed for it, and no id is used twice. Rows of older versions keep their small ids; one
    stored without a number, as by hand, is told under the next one. (REPLACE passes over the trigger of
    what it deletes, but the new row has the same key.) The trigger on DELETE also takes along what
    belongs to an entry deleted without heed for foreign keys: nobody else would, as its id never returns.

    A mark stands for one subject, or for everything: at first, for all that was before this file. Both
    numberings begin at random, so that a number taken from another file is found out.
    """
    connection.execute("CREATE TABLE changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL)")
    connection.execute(
        "CREATE TABLE voids (seq INTEGER PRIMARY KEY AUTOINCREMENT, subject BLOB NOT NULL UNIQUE)"
    )
    connection.execute(
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('changes', ?)", (2**40 + secrets.randbits(40),)
    )
    connection.execute("INSERT INTO voids (seq, subject) VALUES (?, x'')", (2**40 + secrets.randbits(40),))
    connection.execute(
        """
        CREATE TRIGGER entry_stored AFTER INSERT ON entries BEGIN
            INSERT INTO changes (seq, key) SELECT
                CASE WHEN new.id > (SELECT seq FROM sqlite_sequence WHERE name = 'changes') THEN new.id END,
                new.key;
        END
        """
    )
    connection.execute(
        """
        CREATE TRIGGER entry_removed AFTER DELETE ON entries BEGIN
            INSERT INTO changes (key) VALUES (old.key);
            DELETE FROM vectors WHERE entry = old.id;
            DELETE FROM tags WHERE entry = old.id;
        END
        """
    )


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _create,
    _add_vectors,
    _add_labels,
    _add_feed,
)
"""The function at n takes a file from version n to n + 1, inside a transaction."""


def outdated(connection: sqlite3.Connection, name: str) -> bool:
    """True when the file, called ``name`` in errors, must be migrated before use.

    Call within a transaction: between two looks another process may have made the tables.

    Raises:
        BackendUnavailable: the file belongs to another program or to a newer release; nothing was changed.
    """
    owner = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    if owner != APPLICATION_ID:
        tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if owner != 0 or version != 0 or tables != 0:
            raise BackendUnavailable(f"{name} is the database of another program; choose another path")
    if version > len(MIGRATIONS):
        raise BackendUnavailable(
            f"{name} was written by a newer release (schema {version}, this one knows {len(MIGRATIONS)}); "
            "update asynccache or choose another path"
        )
    return version < len(MIGRATIONS)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file that is ours, or empty, to the present version. Call within a write transaction."""
    for step in MIGRATIONS[_pragma(connection, "user_version") :]:
        step(connection)
    # PRAGMA takes no parameters; both are integers of this module.
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS):d}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
