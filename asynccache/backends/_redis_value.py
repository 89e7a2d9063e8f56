"""The stored form of an entry in Redis: what scripts need to see, its vector, and the entry.

Layout (numbers big-endian)::

    generation 16, in decimal digits
    | expires at 8 | created at 8 | partition 32 | space 16 | length of the vector 4 | vector | entry

Scripts write the generation and read the first 84 bytes; ``space`` is zero for an entry without a vector.
The entry proves whose it is (see ``_codec``), the vector likewise (see ``_stored_vector``): a reply that
belongs to another question is found out whatever mixed it up.
"""

from __future__ import annotations

from dataclasses import replace
from struct import Struct
from struct import error as StructError  # noqa: N812  (it is a class)
from typing import Final, NamedTuple

from asynccache._codec import KEY_AT, check_embedding, decode, encode
from asynccache._errors import BackendError, CorruptEntry
from asynccache._models import Embedding, Entry, VectorRow
from asynccache.backends._packed_vector import VectorForm, pack, unpack
from asynccache.backends._redis_names import tag_digest
from asynccache.backends._stored_vector import seal, unseal

__all__ = ["GROUP", "Stored", "generation_of", "is_of", "open_entry", "open_row", "open_whole", "to_stored"]

GENERATION: Final = 16
_HEAD: Final = Struct(">dd32s16sI")
_FIRST: Final = GENERATION + _HEAD.size
_DOUBLE: Final = Struct(">d")
GROUP: Final = 48
"""Bytes of a partition and a space."""


class Stored(NamedTuple):
    """An entry on its way into the store."""

    rest: bytes
    """The stored form, without the generation."""
    tags: list[bytes]
    """Their digests."""
    group: bytes
    """Partition and space of its vector; empty when it has none."""


def to_stored(entry: Entry, form: VectorForm) -> Stored:
    """The stored form.

    Raises:
        BackendError: the entry has none.
    """
    try:
        value = encode(entry, embedding=False)
        tags = tag_digest(entry.tags)
        vector = space = group = b""
        if entry.embedding is not None:
            space, plain = check_embedding(entry.embedding)
            group = entry.partition + space
            vector = seal(pack(plain, form), key=entry.key, partition=entry.partition, space=space)
        head = _HEAD.pack(entry.expires_at, entry.created_at, entry.partition, space, len(vector))
    except (ValueError, StructError) as error:
        raise BackendError(f"this entry cannot be stored: {error}") from error
    return Stored(b"".join((head, vector, value)), tags, group)


def generation_of(value: bytes) -> int:
    """The number of the change that stored a value. Raises CorruptEntry when there is none."""
    digits = value[:GENERATION]
    if len(digits) != GENERATION or not digits.isdigit():
        raise CorruptEntry("a stored entry is damaged: it has no generation")
    return int(digits)


def is_of(value: object, key: bytes) -> bool:
    """Whether a value says of itself that it is that of a key. Quick: whether it is whole is not asked."""
    if not isinstance(value, bytes) or len(value) < _FIRST:
        return False
    *_, vector = _HEAD.unpack_from(value, GENERATION)
    at = _FIRST + vector + KEY_AT
    return value[at : at + len(key)] == key


def open_entry(value: object, key: bytes) -> Entry:
    """The entry stored under a key, without its embedding.

    Raises:
        CorruptEntry: it is not whole, or that of another key.
    """
    if not isinstance(value, bytes) or len(value) < _FIRST:
        raise CorruptEntry("a stored entry is damaged: it is too short")
    digits = value[:GENERATION]
    if not digits.isdigit():
        raise CorruptEntry("a stored entry is damaged: it has no generation")
    vector = int.from_bytes(value[_FIRST - 4 : _FIRST], "big")
    return decode(value[_FIRST + vector :], key=key, generation=int(digits))


def open_whole(value: object, key: bytes) -> Entry:
    """As ``open_entry``, with the embedding; without one that is damaged."""
    entry = open_entry(value, key)
    *_, space, size = _HEAD.unpack_from(value, GENERATION)  # type: ignore[arg-type]  # seen to
    if not size or not isinstance(value, bytes):
        return entry
    try:
        vector = _open_vector(value[_FIRST : _FIRST + size], key=key, partition=entry.partition, space=space)
    except CorruptEntry:
        return entry
    return replace(entry, embedding=Embedding(space, vector))


def open_row(key: object, expires: object, vector: object, *, group: bytes) -> VectorRow | None:
    """A vector as a script has told it; None when it is damaged."""
    if not (isinstance(key, bytes) and isinstance(expires, bytes) and len(expires) == _DOUBLE.size):
        return None
    try:
        plain = _open_vector(vector, key=key, partition=group[:32], space=group[32:])
    except CorruptEntry:
        return None
    return VectorRow(key, plain, _DOUBLE.unpack(expires)[0])


def _open_vector(data: object, *, key: bytes, partition: bytes, space: bytes) -> bytes:
    packed = unseal(data, key=key, partition=partition, space=space)
    try:
        return unpack(packed)
    except ValueError:
        raise CorruptEntry("a stored vector is damaged: it cannot be unpacked") from None
