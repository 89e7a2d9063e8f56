"""Which vectors may be compared: those of one space."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import orjson

from asynccache._protocols import Fingerprinted

if TYPE_CHECKING:
    from asynccache._protocols import Embedder

__all__ = ["space_of"]


def space_of(embedder: Embedder) -> bytes:
    """16 bytes for the space an embedder's vectors lie in; final once it has embedded a text.

    Its own fingerprint where it has one, else name and dim are all that is known of it.
    """
    if isinstance(embedder, Fingerprinted):
        return embedder.fingerprint
    return sha256(orjson.dumps(("space", embedder.name, embedder.dim))).digest()[:16]
