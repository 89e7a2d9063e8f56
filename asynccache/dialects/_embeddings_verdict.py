"""May these embeddings be stored? Only if each input has one, whole and of finite numbers."""

from __future__ import annotations

import binascii
import sys
from array import array
from base64 import b64decode
from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from asynccache.dialects._faults import read
from asynccache.dialects._inputs import as_inputs

if TYPE_CHECKING:
    from asynccache._models import Response

__all__ = ["count", "items", "verdict"]

_NUMBERS: Final = {int, float}  # and no bool
_FLOAT32: Final = 4
"""Bytes."""
_FLOAT32_WORDS: Final = (None, "float32")
_LITTLE_WORDS: Final = (None, "native", "little")


def count(body: Mapping[str, Any]) -> int:
    """How many embeddings a request asks for; one for a conversation."""
    return 1 if body.get("input") is None else len(as_inputs(body["input"]))


def verdict(body: Mapping[str, Any], response: Response) -> str | None:
    """A reason why this answer must not be stored, or None; see ``Dialect.verdict``."""
    document = read(response)
    if isinstance(document, str):
        return document
    if document.get("object") == "error":  # as older vLLM servers have it
        return "the answer carries an error"
    found = items(document, count(body))
    return (
        found if isinstance(found, str) else _vectors_fault(body, [item.get("embedding") for item in found])
    )


def items(document: Mapping[str, Any], n: int) -> list[dict[str, Any]] | str:
    """The n items of a document in the order of the inputs; or why they are not there."""
    data = document.get("data")
    if not isinstance(data, list) or not data:
        return "there are no embeddings"
    if not all(isinstance(item, dict) for item in data):
        return "an embedding is not an object"
    if len(data) != n:
        return f"{len(data)} embeddings came where {n} were asked for"
    by_index = {item.get("index"): item for item in data if type(item.get("index")) is int}
    if by_index.keys() != set(range(n)):
        return "the embeddings are not numbered from 0"
    return [by_index[index] for index in range(n)]


def _vectors_fault(body: Mapping[str, Any], vectors: list[Any]) -> str | None:
    # vLLM writes other numbers than little-endian float32 on request.
    plain = body.get("embed_dtype") in _FLOAT32_WORDS and body.get("endianness") in _LITTLE_WORDS
    lengths: set[int] = set()
    for vector in vectors:
        length = _length(vector, plain=plain)
        if isinstance(length, str):
            return length
        lengths.add(length)
    if len(lengths) > 1:
        return "the embeddings differ in length"
    asked = body.get("dimensions")
    if plain and asked is not None and lengths != {asked}:
        return "the embeddings have other dimensions than asked for"
    return None


def _length(vector: Any, *, plain: bool) -> int | str:
    """How many numbers, or of other types how many bytes, a vector has; or what is wrong with it."""
    if isinstance(vector, str):
        return _encoded_length(vector, plain=plain)
    if not isinstance(vector, list):
        return "an embedding is neither a list nor base64"
    if not vector:
        return "an embedding is empty"
    if not set(map(type, vector)) <= _NUMBERS:
        return "an embedding holds what is no number"
    return len(vector)  # JSON has no number that is not finite


def _encoded_length(text: str, *, plain: bool) -> int | str:
    try:
        raw = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return "an embedding is not base64"
    if not raw:
        return "an embedding is empty"
    if not plain:
        return len(raw)
    if len(raw) % _FLOAT32:
        return "an embedding is not of whole float32 numbers"
    numbers = array("f", raw)
    if sys.byteorder == "big":
        numbers.byteswap()
    # Doubles cannot overflow by adding float32s, so only what is not finite makes such a sum.
    return len(numbers) if isfinite(sum(numbers)) else "an embedding holds a number that is not finite"
