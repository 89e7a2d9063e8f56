"""The stored form of a vector that is kept apart from its entry.

That is ``vector | tag 16``, where the tag is a SHA-256 over key, partition, space and vector, cut to 16
bytes. A vector whose bits have flipped would make another question look like this one, and one that is
found under another partition would be another customer's: the tag finds both.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from asynccache._codec import check_embedding
from asynccache._errors import CorruptEntry
from asynccache._models import Embedding

__all__ = ["decode_vector", "encode_vector", "seal", "unseal"]

_TAG: Final = 16


def encode_vector(key: bytes, partition: bytes, embedding: Embedding) -> bytes:
    """The stored form of an entry's vector.

    Raises:
        ValueError: the embedding is not a space of 16 bytes and some float32.
    """
    space, vector = check_embedding(embedding)
    return seal(vector, key=key, partition=partition, space=space)


def decode_vector(data: object, *, key: bytes, partition: bytes, space: bytes) -> bytes:
    """The vector stored as ``data``, which must be that of these three. Raises as ``unseal``."""
    return unseal(data, key=key, partition=partition, space=space)


def seal(vector: bytes, *, key: bytes, partition: bytes, space: bytes) -> bytes:
    """A vector in whatever form, and the tag."""
    return vector + _tag(key, partition, space, vector)


def unseal(data: object, *, key: bytes, partition: bytes, space: bytes) -> bytes:
    """What was sealed as ``data``, which must be that of these three.

    Raises:
        CorruptEntry: it is not, or no longer. Nothing else is raised, whatever is given as ``data``.
    """
    if not isinstance(data, bytes) or len(data) <= _TAG:  # a damaged SQLite row can change its type
        raise CorruptEntry("a stored vector is damaged: it is not bytes, or too short")
    vector = data[:-_TAG]
    if _tag(key, partition, space, vector) != data[-_TAG:]:
        raise CorruptEntry("a stored vector is damaged: its checksum does not match")
    return vector


def _tag(*covered: bytes) -> bytes:
    return sha256(b"".join(covered)).digest()[:_TAG]
