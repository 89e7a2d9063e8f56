"""The stored form of an entry."""

from __future__ import annotations

import base64
import tracemalloc
import zlib
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from struct import Struct
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asynccache._codec import decode, encode
from asynccache._errors import CorruptEntry
from asynccache._models import Alias, Cost, Embedding, Entry, Response
from asynccache.backends._stored_vector import decode_vector, encode_vector
from asynccache.testing import make_entry
from asynccache.testing.entries import make_embedding

_PREFIX = Struct(">2sBB32s32s5I")

finite = st.floats(allow_nan=False, allow_infinity=False)
count = st.integers(min_value=0, max_value=2**63 - 1)
identifier = st.binary(min_size=32, max_size=32)
text = st.text(max_size=50)
spaces = st.binary(min_size=16, max_size=16)
embeddings = st.builds(
    Embedding,
    spaces,
    st.integers(1, 50).flatmap(lambda dim: st.binary(min_size=4 * dim, max_size=4 * dim)),
)
frame = st.binary(max_size=60) | st.just(b'{"choices":[{"delta":{"content":"the same again"}}]}' * 8)
entries = st.builds(
    Entry,
    key=identifier,
    partition=identifier,
    dialect=text,
    response=st.builds(Response, st.binary(max_size=3000), st.lists(frame, max_size=40).map(tuple)),
    created_at=finite | st.integers(min_value=0, max_value=2**53),
    ttl=st.none() | st.just(0) | finite,
    question=st.none() | text,
    tags=st.lists(text, max_size=4).map(tuple),
    version=st.none() | text,
    cost=st.builds(Cost, count, count, finite),
    embedding=st.none() | embeddings,
    alias=st.none() | st.builds(Alias, identifier, finite | st.integers(-1, 1), spaces),
)


def seal(unsealed: bytes) -> bytes:
    return unsealed + sha256(unsealed).digest()[:16]


@given(entries)
def test_every_entry_comes_back_exactly(entry: Entry) -> None:
    assert decode(encode(entry), key=entry.key) == entry


@given(entries)
def test_embedding_can_be_left_out(entry: Entry) -> None:
    stored = encode(entry, embedding=False)
    assert decode(stored, key=entry.key) == replace(entry, embedding=None)
    assert len(stored) == len(encode(replace(entry, embedding=None)))


@given(st.binary(max_size=400))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptEntry):
        decode(data, key=b"k" * 32)


@given(entries, st.data())
def test_any_flipped_bit_is_found(entry: Entry, data: st.DataObject) -> None:
    stored = bytearray(encode(entry))
    at = data.draw(st.integers(0, len(stored) * 8 - 1))
    stored[at // 8] ^= 1 << at % 8
    with pytest.raises(CorruptEntry):
        decode(bytes(stored), key=entry.key)


@given(entries, st.data())
def test_any_truncation_or_addition_is_found(entry: Entry, data: st.DataObject) -> None:
    stored = encode(entry)
    end = data.draw(st.integers(0, len(stored) - 1))
    for damaged in (stored[:end], stored[end + 1 :], stored + b"\0", stored + stored):
        with pytest.raises(CorruptEntry):
            decode(damaged, key=entry.key)


@given(entries, identifier)
def test_entry_of_another_key_is_refused(entry: Entry, other: bytes) -> None:
    if other != entry.key:
        with pytest.raises(CorruptEntry, match="another key"):
            decode(encode(entry), key=other)


@settings(max_examples=500)
@given(
    st.integers(0, 3),
    st.integers(0, 255),
    st.lists(st.integers(0, 40) | st.sampled_from([2**31, 2**32 - 1]), min_size=5, max_size=5),
    st.binary(max_size=120),
)
def test_forged_bytes_raise_nothing_but_corrupt_entry(
    version: int, flags: int, lengths: list[int], rest: bytes
) -> None:
    forged = seal(_PREFIX.pack(b"AE", version, flags, b"k" * 32, b"p" * 32, *lengths) + rest)
    with suppress(CorruptEntry):
        decode(forged, key=b"k" * 32)


# Whole but for what the forger writes behind the frames.
_HEADER = orjson.dumps(
    {
        "dialect": "d",
        "created": 1.0,
        "ttl": None,
        "question": None,
        "tags": [],
        "version": None,
        "cost": [0, 0, 0],
    }
)


def forged_end(version: int, flags: int, size: int, end: bytes) -> bytes:
    lengths = (len(_HEADER), 0, 0, 0, size)
    return seal(_PREFIX.pack(b"AE", version, flags, b"k" * 32, b"p" * 32, *lengths) + _HEADER + end)


@settings(max_examples=500)
@given(
    st.sampled_from([1, 2]),
    st.sampled_from([0b000, 0b010, 0b100, 0b110]),
    st.integers(0, 57),
    st.binary(max_size=57) | st.binary(min_size=57, max_size=110),
)
def test_forged_embedding_and_alias_raise_nothing_but_corrupt_entry(
    version: int, flags: int, size: int, end: bytes
) -> None:
    try:
        found = decode(forged_end(version, flags, size, end), key=b"k" * 32)
    except CorruptEntry:
        return
    assert decode(encode(found), key=found.key) == found


@pytest.mark.parametrize(
    ("version", "flags", "size", "end"),
    [
        pytest.param(2, 0b010, 0, b"", id="embedding without a space"),
        pytest.param(2, 0b010, 16, bytes(16), id="embedding without a vector"),
        pytest.param(2, 0b010, 19, bytes(19), id="part of a float"),
        pytest.param(2, 0b000, 20, bytes(20), id="embedding without its flag"),
        pytest.param(2, 0b100, 0, bytes(55), id="alias cut off"),
        pytest.param(2, 0b100, 0, bytes(57), id="something behind the alias"),
        pytest.param(2, 0b100, 0, bytes(40), id="alias without a space"),
        pytest.param(2, 0b000, 0, bytes(56), id="alias without its flag"),
        pytest.param(2, 0b100, 0, bytes(32) + b"\x7f\xf8" + bytes(22), id="similarity is not a number"),
        pytest.param(2, 0b100, 0, bytes(32) + b"\x7f\xf0" + bytes(22), id="similarity is infinite"),
        pytest.param(2, 0b1000, 0, b"", id="unknown flag"),
        pytest.param(1, 0b100, 0, bytes(56), id="alias in format 1"),
        pytest.param(0, 0b000, 0, b"", id="format 0"),
    ],
)
def test_impossible_embedding_or_alias_is_refused(version: int, flags: int, size: int, end: bytes) -> None:
    with pytest.raises(CorruptEntry):
        decode(forged_end(version, flags, size, end), key=b"k" * 32)


def test_well_forged_embedding_and_alias_show_that_the_forger_works() -> None:
    end = b"s" * 16 + b"v" * 8 + b"o" * 32 + b"\x3f\xe0" + bytes(6) + b"t" * 16
    found = decode(forged_end(2, 0b110, 24, end), key=b"k" * 32)
    assert found.embedding == Embedding(b"s" * 16, b"v" * 8)
    assert found.alias == Alias(b"o" * 32, 0.5, b"t" * 16)


def test_entry_of_format_2_is_read() -> None:
    # As the release wrote it that had an object for a header.
    stored = (
        "QUUCBmtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2trcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAAAAB/"
        "AAAADQAAAAsAAAALAAAAGHsiZGlhbGVjdCI6ImNoYXQuY29tcGxldGlvbnMiLCJjcmVhdGVkIjoxMDAwMDAwMDAwLjAsInR0"
        "bCI6NjAuMCwicXVlc3Rpb24iOiJ3aHk/IiwidGFncyI6WyJhIl0sInZlcnNpb24iOiJ2MSIsImNvc3QiOlsxLDIsMC41XX17"
        "ImFuc3dlciI6IDF9AAAAA29uZQAAAABzc3Nzc3Nzc3Nzc3Nzc3NzMTIzNDU2Nzhvb29vb29vb29vb29vb29vb29vb29vb29v"
        "b29vb29vbz/gAAAAAAAAdHR0dHR0dHR0dHR0dHR0dES0Xd8yx6g3QAiiSTjHig0="
    )
    assert decode(base64.b64decode(stored), key=b"k" * 32) == Entry(
        key=b"k" * 32,
        partition=b"p" * 32,
        dialect="chat.completions",
        response=Response(b'{"answer": 1}', (b"one", b"")),
        created_at=1e9,
        ttl=60.0,
        question="why?",
        tags=("a",),
        version="v1",
        cost=Cost(1, 2, 0.5),
        embedding=Embedding(b"s" * 16, b"12345678"),
        alias=Alias(b"o" * 32, 0.5, b"t" * 16),
    )


def test_entry_of_format_1_is_read_without_its_embedding() -> None:
    # As the first release wrote it.
    stored = (
        "QUUBAmtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2trcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAAAAB/"
        "AAAADQAAAAsAAAALAAAACHsiZGlhbGVjdCI6ImNoYXQuY29tcGxldGlvbnMiLCJjcmVhdGVkIjoxMDAwMDAwMDAwLjAsInR0"
        "bCI6NjAuMCwicXVlc3Rpb24iOiJ3aHk/IiwidGFncyI6WyJhIl0sInZlcnNpb24iOiJ2MSIsImNvc3QiOlsxLDIsMC41XX17"
        "ImFuc3dlciI6IDF9AAAAA29uZQAAAAAxMjM0NTY3OHaXCNFT/Dy8G2tUN7XjVUI="
    )
    assert decode(base64.b64decode(stored), key=b"k" * 32) == Entry(
        key=b"k" * 32,
        partition=b"p" * 32,
        dialect="chat.completions",
        response=Response(b'{"answer": 1}', (b"one", b"")),
        created_at=1e9,
        ttl=60.0,
        question="why?",
        tags=("a",),
        version="v1",
        cost=Cost(1, 2, 0.5),
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | finite | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=6,
)
_SOUND = {
    "dialect": "d",
    "created": 1.0,
    "ttl": None,
    "question": "q",
    "tags": [],
    "version": None,
    "cost": [1, 2, 0.5],
}
_NAMES = ["dialect", "created", "ttl", "question", "tags", "version", "cost"]


@settings(max_examples=500)
@given(st.dictionaries(st.sampled_from(_NAMES), json_values) | json_values | st.binary(max_size=30))
def test_forged_header_raises_nothing_but_corrupt_entry(fields: Any) -> None:
    entry = make_entry(created_at=1.0)
    stored = encode(entry)
    *fixed, size, body, frames, plain, embedding = _PREFIX.unpack_from(stored)
    if isinstance(fields, bytes):
        header = fields
    else:
        if isinstance(fields, dict):
            fixed[1] = 2  # the format that had an object
            fields = {**_SOUND, **fields}
        elif isinstance(fields, list):
            own = orjson.loads(stored[_PREFIX.size : _PREFIX.size + size])
            fields = [*fields, *own[len(fields) :]]
        header = orjson.dumps(fields)
    rest = stored[_PREFIX.size + size : -16]
    forged = seal(_PREFIX.pack(*fixed, len(header), body, frames, plain, embedding) + header + rest)
    try:
        found = decode(forged, key=entry.key)
    except CorruptEntry:
        return
    assert decode(encode(found), key=found.key) == found


def test_entry_of_a_newer_format_is_refused() -> None:
    entry = make_entry(created_at=1.0)
    newer = bytearray(encode(entry)[:-16])
    newer[2] = 4
    with pytest.raises(CorruptEntry, match="format is 4"):
        decode(seal(bytes(newer)), key=entry.key)


@pytest.mark.parametrize("value", [None, "text", 7, 1.5, memoryview(b"x" * 200)])
def test_value_that_is_not_bytes_is_refused(value: Any) -> None:
    with pytest.raises(CorruptEntry):
        decode(value, key=b"k" * 32)


def long_stream() -> Entry:
    frames = tuple(b'{"choices":[{"delta":{"content":"word %d"}}]}' % n for n in range(500))
    return make_entry(created_at=1.0, response=Response(b"{}", frames))


def test_long_stream_is_stored_much_smaller() -> None:
    entry = long_stream()
    assert len(encode(entry)) < sum(map(len, entry.response.frames)) / 4
    assert decode(encode(entry), key=entry.key) == entry


def test_short_stream_is_stored_as_it_came() -> None:
    entry = make_entry(created_at=1.0, response=Response(b"{}", (b"frame as received",) * 2))
    assert b"frame as received" in encode(entry)


def forged_stream(compressed: bytes, declared: int) -> bytes:
    entry = make_entry(created_at=1.0, response=Response(b"{}"), embedding=None)
    stored = encode(entry)
    magic, version, _, key, partition, header, body, *_ = _PREFIX.unpack_from(stored)
    prefix = _PREFIX.pack(magic, version, 1, key, partition, header, body, len(compressed), declared, 0)
    return seal(prefix + stored[_PREFIX.size : -16] + compressed)


@pytest.mark.parametrize(
    ("compressed", "declared"),
    [
        pytest.param(zlib.compress(b"\0" * 50_000_000), 4, id="more than declared"),
        pytest.param(zlib.compress(b"\0" * 4), 8, id="less than declared"),
        pytest.param(zlib.compress(b"\0" * 4)[:-1], 4, id="cut off"),
        pytest.param(zlib.compress(b"\0" * 4) + b"x", 4, id="something behind"),
        pytest.param(b"no zlib", 4, id="no zlib"),
        pytest.param(b"", 0, id="nothing"),
        pytest.param(zlib.compress(b""), 2**32 - 1, id="declared beyond every limit"),
        pytest.param(zlib.compress(b"\0\0\0\x09abc"), 7, id="frame longer than the block"),
        pytest.param(zlib.compress(b"\0\0\0"), 3, id="length cut off"),
    ],
)
def test_frames_that_do_not_expand_as_declared_are_refused(compressed: bytes, declared: int) -> None:
    forged = forged_stream(compressed, declared)
    with pytest.raises(CorruptEntry):
        decode(forged, key=make_entry(created_at=1.0).key)


def test_well_forged_stream_shows_that_the_forger_works() -> None:
    forged = forged_stream(zlib.compress(b"\0\0\0\x03abc"), 7)
    assert decode(forged, key=make_entry(created_at=1.0).key).response.frames == (b"abc",)


def test_bomb_is_not_expanded_beyond_its_declared_size() -> None:
    bomb = forged_stream(zlib.compress(b"\0" * 50_000_000), 100)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptEntry):
            decode(bomb, key=make_entry(created_at=1.0).key)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


ANY: dict[type, Any] = {bytearray: bytearray(16), list: [0.5] * 4, str: "k" * 32}  # for type checkers


@pytest.mark.parametrize(
    "changes",
    [
        {"key": b"short"},
        {"partition": b"long" * 20},
        {"created_at": float("nan")},
        {"ttl": float("inf")},
        {"cost": Cost(seconds=float("inf"))},
        {"cost": Cost(prompt_tokens=2**64)},
        {"question": "\ud800"},
        {"tags": ("\udfff",)},
        {"tags": (None,)},
        {"dialect": b"bytes"},
        {"ttl": True},
        {"created_at": 10**400},
        {"embedding": Embedding(b"s" * 15, bytes(4))},
        {"embedding": Embedding(b"s" * 16, b"")},
        {"embedding": Embedding(b"s" * 16, bytes(5))},
        {"embedding": Embedding(ANY[bytearray], bytes(4))},
        {"embedding": Embedding(b"s" * 16, ANY[list])},
        {"alias": Alias(b"k" * 31, 0.5, b"s" * 16)},
        {"alias": Alias(b"k" * 33, 0.5, b"s" * 16)},
        {"alias": Alias(ANY[str], 0.5, b"s" * 16)},
        {"alias": Alias(b"k" * 32, float("nan"), b"s" * 16)},
        {"alias": Alias(b"k" * 32, 10**400, b"s" * 16)},
        {"alias": Alias(b"k" * 32, ANY[str], b"s" * 16)},
        {"alias": Alias(b"k" * 32, True, b"s" * 16)},
        {"alias": Alias(b"k" * 32, 0.5, b"")},
        {"alias": Alias(b"k" * 32, 0.5, b"s" * 15)},
        {"alias": Alias(b"k" * 32, 0.5, b"s" * 17)},
        {"alias": Alias(b"k" * 32, 0.5, ANY[bytearray])},
    ],
)
def test_entry_without_a_stored_form_is_a_value_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        encode(replace(make_entry(created_at=1.0), **changes))


@given(identifier, identifier, embeddings)
def test_vector_kept_apart_comes_back(key: bytes, partition: bytes, embedding: Embedding) -> None:
    stored = encode_vector(key, partition, embedding)
    vector = decode_vector(stored, key=key, partition=partition, space=embedding.space)
    assert vector == embedding.vector


@given(st.data())
def test_vector_that_is_damaged_or_anothers_is_refused(data: st.DataObject) -> None:
    key, partition, embedding = b"k" * 32, b"p" * 32, make_embedding()
    stored = encode_vector(key, partition, embedding)
    at = data.draw(st.integers(0, len(stored) * 8 - 1))
    flipped = bytearray(stored)
    flipped[at // 8] ^= 1 << at % 8
    cut = stored[: data.draw(st.integers(0, len(stored) - 1))]
    for damaged in (bytes(flipped), cut, stored + b"\0", "text", None, 7, data.draw(st.binary(max_size=40))):
        with pytest.raises(CorruptEntry):
            decode_vector(damaged, key=key, partition=partition, space=embedding.space)
    for others in ({"key": b"q" * 32}, {"partition": b"q" * 32}, {"space": b"q" * 16}):
        whose = {"key": key, "partition": partition, "space": embedding.space, **others}
        with pytest.raises(CorruptEntry):
            decode_vector(stored, **whose)
