"""Entries for tests."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from asynccache._models import Cost, Entry, Response

__all__ = ["ABSENT", "make_entry"]

ABSENT: Final = hashlib.sha256(b"never stored").digest()
"""A key no entry made here has."""


def make_entry(number: int = 0, *, created_at: float, **fields: Any) -> Entry:
    """An entry with every field filled; the same number gives the same key and answer.

    Args:
        number: sets the key and the answer. All entries share one partition.
        created_at: seconds since the epoch.
        fields: any other field of ``Entry``, to replace the one made here.
    """
    made: dict[str, Any] = {
        "key": hashlib.sha256(b"key %d" % number).digest(),
        "partition": hashlib.sha256(b"partition").digest(),
        "dialect": "chat.completions",
        "response": Response(b'{"answer": %d}' % number, (b'{"part": 1}', b'{"part": %d}' % number)),
        "ttl": 60.0,
        "question": f"question {number} — ünïcode",
        "tags": ("all", f"tag-{number}"),
        "version": "v1",
        "cost": Cost(prompt_tokens=10, completion_tokens=number, seconds=0.25),
        "embedding": bytes(range(16)),
    }
    return Entry(created_at=created_at, **{**made, **fields})
