"""The stored form of an entry: one byte string that says whose it is and proves that it is whole.

Layout, format 3 (integers and floats big-endian)::

    magic 2 | format 1 | flags 1 | key 32 | partition 32
    | length of: header 4, body 4, frames as stored 4, frames expanded 4, embedding 4
    | header | body | frames
    | embedding, when there is one: space 16, vector
    | alias, when it is one: key 32, similarity 8, space 16
    | tag 16: SHA-256 of everything before, cut to 16 bytes

Format 2 had a JSON object for a header. So had format 1, which knew no alias, and whose embedding did not say
of which space it was: it is read without one.

The header is a JSON list of the small fields. The body is stored as received, so that a hit can be
served without touching it. The frames are one block, each with its length before it, compressed
together when that pays: the frames of one stream repeat each other almost word for word.

A store may hand out another key's value (a mixed-up connection) or flipped bits (SQLite's pages carry
no checksum), so the key stands inside and the tag covers all. The tag is no signature: it finds
accidents, not forgers; ``decode`` survives forged bytes too, but believes them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from hashlib import sha256
from itertools import product
from math import isfinite
from struct import Struct
from typing import Any, Final, NoReturn

import orjson

from asynccache._errors import CorruptEntry
from asynccache._models import (
    Alias,
    Embedding,
    Entry,
    Response,
    stored_cost,
    stored_entry,
    stored_response,
)

__all__ = ["KEY_AT", "check_embedding", "decode", "encode"]

_MAGIC: Final = b"AE"
_FORMAT: Final = 3
_COMPRESSED: Final = 0b001
_EMBEDDED: Final = 0b010
_ALIASED: Final = 0b100
_ALL: Final = _COMPRESSED | _EMBEDDED | _ALIASED
_KNOWN_FLAGS: Final = {1: _COMPRESSED | _EMBEDDED, 2: _ALL, 3: _ALL}  # by format

_PREFIX: Final = Struct(">2sBB32s32s5I")
_LENGTH: Final = Struct(">I")
_ALIAS: Final = Struct(">32sd16s")
_TAG: Final = 16
KEY_AT: Final = 4
"""Where the key stands in the stored form, in every format."""

_ID: Final = 32
_SPACE: Final = 16
_FLOAT: Final = 4
_LONGEST: Final = 2**32 - 1  # what a length field can say

_WORTH_COMPRESSING: Final = 1024  # bytes; below, the call costs more than the bytes it saves
_WORTH_KEEPING: Final = 0.9  # share of the plain size; a smaller gain does not pay for expanding on each hit
_LEVEL: Final = 1  # zlib's fastest: frames are so repetitive that more effort gains little
_EXPANDED_LIMIT: Final = 256 * 2**20  # bytes; no honest answer comes near, a decompression bomb ends here


def encode(entry: Entry, *, embedding: bool = True) -> bytes:
    """The stored form of ``entry``.

    Args:
        entry: what to store.
        embedding: whether its embedding goes along; without, the entry is read back as having none.

    Raises:
        ValueError: the entry has no stored form: a key or partition that is not 32 bytes, an embedding
            that is not a space of 16 bytes and some float32, an alias that is not a key of 32 bytes, a
            number and a space of 16, a field of the wrong type, a number that is not finite or has more
            than 64 bits, text that is not valid Unicode, a part longer than 4 GiB.
    """
    if len(entry.key) != _ID or len(entry.partition) != _ID:
        sizes = f"{len(entry.key)} and {len(entry.partition)}"
        raise ValueError(f"key and partition must have {_ID} bytes each, got {sizes}")
    header = _header(entry)
    body = entry.response.body
    plain = b"".join(part for frame in entry.response.frames for part in (_length(frame), frame))
    frames, flags = _compress(plain)
    placed = alias = b""
    if embedding and entry.embedding is not None:
        flags |= _EMBEDDED
        placed = b"".join(check_embedding(entry.embedding))
    if entry.alias is not None:
        flags |= _ALIASED
        alias = _pack_alias(entry.alias)
    if max(len(header), len(body), len(plain), len(placed)) > _LONGEST:
        raise ValueError("a part of the entry is longer than 4 GiB")
    lengths = (len(header), len(body), len(frames), len(plain), len(placed))
    prefix = _PREFIX.pack(_MAGIC, _FORMAT, flags, entry.key, entry.partition, *lengths)
    sealed = b"".join((prefix, header, body, frames, placed, alias))
    return sealed + sha256(sealed).digest()[:_TAG]


def check_embedding(embedding: Embedding) -> Embedding:
    """The same embedding.

    Raises:
        ValueError: it is not a space of 16 bytes and some float32.
    """
    space, vector = embedding
    if type(space) is not bytes or type(vector) is not bytes:
        raise ValueError("space and vector of an embedding must be bytes")
    if len(space) != _SPACE or not vector or len(vector) % _FLOAT:
        sizes = f"{len(space)} and {len(vector)}"
        raise ValueError(f"an embedding is a space of {_SPACE} bytes and some float32, got {sizes} bytes")
    return embedding


def _pack_alias(alias: Alias) -> bytes:
    of, similarity, space = alias
    if type(of) is not bytes or type(similarity) not in _NUMBER or type(space) is not bytes:
        raise ValueError("key and space of an alias must be bytes, its similarity a number")
    if len(of) != _ID or len(space) != _SPACE:  # the struct would cut or fill them up
        sizes = f"{len(of)} and {len(space)}"
        raise ValueError(f"an alias is a key of {_ID} bytes and a space of {_SPACE}, got {sizes} bytes")
    if not _finite(similarity):
        raise ValueError("the similarity of an alias must be finite")
    return _ALIAS.pack(of, similarity, space)


def _finite(*numbers: float) -> bool:
    try:
        return all(isfinite(number) for number in numbers)
    except OverflowError:  # an int beyond every float
        return False


def _header(entry: Entry) -> bytes:
    cost = entry.cost
    told = entry.dialect, entry.created_at, entry.ttl, entry.question, entry.version
    shape = map(type, (*told, cost.prompt_tokens, cost.completion_tokens, cost.seconds))
    if tuple(shape) not in _SHAPES or not _all_text(entry.tags):  # what is stored must be readable
        raise ValueError("a field of the entry has the wrong type")
    if not _finite(entry.created_at, entry.ttl or 0, entry.cost.seconds):  # JSON would turn them into null
        raise ValueError("created_at, ttl and cost.seconds must be finite")
    fields = (
        entry.dialect,
        entry.created_at,
        entry.ttl,
        entry.question,
        entry.tags,
        entry.version,
        cost.prompt_tokens,
        cost.completion_tokens,
        cost.seconds,
    )
    try:
        return orjson.dumps(fields)
    except TypeError as error:  # orjson's own error, a TypeError by inheritance
        raise ValueError(f"a field of the entry has no stored form: {error}") from error


def _length(frame: bytes) -> bytes:
    if len(frame) > _LONGEST:
        raise ValueError("a frame of the entry is longer than 4 GiB")
    return _LENGTH.pack(len(frame))


def _compress(plain: bytes) -> tuple[bytes, int]:
    if _WORTH_COMPRESSING < len(plain) <= _EXPANDED_LIMIT:
        compressed = zlib.compress(plain, _LEVEL)
        if len(compressed) < len(plain) * _WORTH_KEEPING:
            return compressed, _COMPRESSED
    return plain, 0


def decode(data: bytes, *, key: bytes, generation: int | None = None) -> Entry:
    """The entry stored as ``data``, which must be that of ``key``.

    Args:
        data: what ``encode`` made.
        key: of the entry.
        generation: what the store knows of it; no part of ``data``.

    Raises:
        CorruptEntry: the bytes are not, or no longer, what ``encode`` made of an entry with this
            key. Nothing else is raised, whatever the bytes.
    """
    if not isinstance(data, bytes):  # a damaged SQLite row can change its type
        _refuse("it is not bytes")
    if len(data) < _PREFIX.size + _TAG:
        _refuse("it is too short")
    (
        magic,
        version,
        flags,
        own_key,
        partition,
        header_size,
        body_size,
        frames_size,
        plain_size,
        embedding_size,
    ) = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        _refuse("it does not start like an entry")
    known = _KNOWN_FLAGS.get(version)
    if known is None:
        _refuse(f"its format is {version}, this release reads 1 to {_FORMAT}")
    if sha256(data[:-_TAG]).digest()[:_TAG] != data[-_TAG:]:
        _refuse("its checksum does not match")
    if own_key != key:
        _refuse("it belongs to another key")
    if flags & ~known:
        _refuse("it has unknown flags")
    body_at = _PREFIX.size + header_size
    frames_at = body_at + body_size
    embedding_at = frames_at + frames_size
    alias_at = embedding_at + embedding_size
    end = alias_at + (_ALIAS.size if flags & _ALIASED else 0)
    if end != len(data) - _TAG:
        _refuse("its lengths do not add up")
    frames: tuple[bytes, ...] = ()
    if frames_size or plain_size or flags & _COMPRESSED:
        frames = _frames(data[frames_at:embedding_at], plain_size, flags)
    if embedding_size and not flags & _EMBEDDED:
        _refuse("its lengths do not add up")
    return _entry(
        data[_PREFIX.size : body_at] if version == _FORMAT else _as_list(data[_PREFIX.size : body_at]),
        own_key,
        partition,
        stored_response(data[body_at:frames_at], frames),
        _embedding(data[embedding_at:alias_at]) if flags & _EMBEDDED and version > 1 else None,
        _alias(data[alias_at:end]) if flags & _ALIASED else None,
        generation,
    )


def _frames(stored: bytes, size: int, flags: int) -> tuple[bytes, ...]:
    if flags & _COMPRESSED:
        return _split(_expand(stored, size))
    if len(stored) != size:
        _refuse("its lengths do not add up")
    return _split(stored)


def _embedding(stored: bytes) -> Embedding:
    space, vector = stored[:_SPACE], stored[_SPACE:]
    if not vector or len(vector) % _FLOAT:
        _refuse("its embedding has an impossible length")
    return Embedding(space, vector)


def _alias(stored: bytes) -> Alias:
    alias = Alias(*_ALIAS.unpack(stored))
    if not isfinite(alias.similarity):
        _refuse("its similarity is not a number")
    return alias


def _expand(compressed: bytes, size: int) -> bytes:
    if size > _EXPANDED_LIMIT:
        _refuse("it would expand beyond every limit")
    expander = zlib.decompressobj()
    try:
        plain = expander.decompress(compressed, size + 1)  # one more, to see that there is no more
    except zlib.error:
        _refuse("its frames do not expand")
    if len(plain) != size or not expander.eof or expander.unused_data:
        _refuse("its frames do not have their declared size")
    return plain


def _split(block: bytes) -> tuple[bytes, ...]:
    frames: list[bytes] = []
    at, end = 0, len(block)
    while at < end:
        start = at + _LENGTH.size
        if start > end:
            _refuse("its frames do not add up")
        at = start + int.from_bytes(block[at:start], "big")
        if at > end:
            _refuse("its frames do not add up")
        frames.append(block[start:at])
    return tuple(frames)


def _entry(  # noqa: PLR0917  (keywords would cost a hit more than they say)
    header: bytes,
    key: bytes,
    partition: bytes,
    response: Response,
    embedding: Embedding | None,
    alias: Alias | None,
    generation: int | None,
) -> Entry:
    try:
        dialect, created_at, ttl, question, tags, version, prompt, completion, seconds = orjson.loads(header)
    except (ValueError, TypeError):
        _refuse("its header is not readable")
    shape = (
        type(dialect),
        type(created_at),
        type(ttl),
        type(question),
        type(version),
        type(prompt),
        type(completion),
        type(seconds),
    )
    if shape not in _SHAPES or type(tags) is not list or (tags and not _all_text(tags)):
        _refuse("its header is not readable")
    return stored_entry(
        key,
        partition,
        dialect,
        response,
        created_at,
        ttl,
        question,
        tuple(tags),
        version,
        stored_cost(prompt, completion, seconds),
        embedding,
        alias,
        generation,
    )


def _as_list(header: bytes) -> bytes:
    """The header of a former format as it is written now."""
    try:
        fields: dict[str, Any] = orjson.loads(header)
        names = ("dialect", "created", "ttl", "question", "tags", "version")
        return orjson.dumps((*[fields[name] for name in names], *fields["cost"]))
    except (ValueError, TypeError, KeyError):
        _refuse("its header is not readable")


def _all_text(tags: Iterable[object]) -> bool:
    return all(type(tag) is str for tag in tags)


_NUMBER: Final = (int, float)
_TEXT: Final = (str, type(None))
# Of dialect, created_at, ttl, question, version, and the three parts of the cost: their JSON types. By type,
# for to isinstance True is a number.
_SHAPES: Final = frozenset(
    product((str,), _NUMBER, (*_NUMBER, type(None)), _TEXT, _TEXT, (int,), (int,), _NUMBER)
)


def _refuse(why: str) -> NoReturn:
    # From None: a parser's error may quote what it could not read.
    raise CorruptEntry(f"a stored entry is damaged: {why}") from None
