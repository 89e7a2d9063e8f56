"""Entries for tests."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from typing import Any, Final

from asynccache._judging import Label
from asynccache._models import Cost, Embedding, Entry, Response

__all__ = ["ABSENT", "SPACE", "make_embedding", "make_entry", "make_label", "same"]

ABSENT: Final = hashlib.sha256(b"never stored").digest()
"""A key no entry made here has."""

SPACE: Final = hashlib.sha256(b"space").digest()[:16]
"""Where the embeddings made here are, unless told otherwise."""


def make_entry(number: int = 0, *, created_at: float, **fields: Any) -> Entry:
    """An entry with every field of an answer filled; the same number gives the same key and answer.

    It has no embedding unless told: a backend's ``get`` may leave that out, and most tests compare.

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
    }
    return Entry(created_at=created_at, **{**made, **fields})


def make_label(number: int = 0, *, at: float, **fields: Any) -> Label:
    """A label of the question of entry ``number``; its fields depend on that number alone.

    Args:
        number: sets keys, score and verdict.
        at: seconds since the epoch.
        fields: any other field of ``Label``, to replace the one made here.
    """
    made: dict[str, Any] = {
        "key": hashlib.sha256(b"key %d" % number).digest(),
        "asked": hashlib.sha256(b"asked %d" % number).digest(),
        "family": hashlib.sha256(b"family").digest()[:16],
        "version": hashlib.sha256(b"version").digest()[:16],
        "score": number / 8,
        "calibrated": number / 4,
        "same": number % 2 == 0,
        "kind": "miss",
        "missed": 0.0625,
        "accepted": 0.03125,
        "origin": hashlib.sha256(b"origin").digest()[:16],
    }
    return Label(at=at, **{**made, **fields})


def make_embedding(number: int = 0, *, space: bytes = SPACE) -> Embedding:
    """An embedding of dim 16; the same number gives the same vector, another one below 65,536 another.

    Every component is plus or minus a quarter: the norm is 1, and a store that keeps fewer bits gives back
    the very same vector.
    """
    signs = number * _STRIDE % 2**_DIM
    return Embedding(space, struct.pack(f"<{_DIM}f", *(0.25 - (signs >> bit & 1) / 2 for bit in range(_DIM))))


_DIM: Final = 16
_STRIDE: Final = 40503  # odd, so that numbers are mixed up but stay apart


def same(found: Entry | None, stored: Entry) -> bool:
    """Whether what a backend's ``get`` has found is what was stored; only the embedding may lack."""
    return found is not None and found in (stored, replace(stored, embedding=None))
