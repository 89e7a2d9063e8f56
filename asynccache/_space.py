"""Which vectors may be compared: those of one space, and only if they are what an embedder promises."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson

from asynccache._errors import EmbedderUnavailable
from asynccache._protocols import Fingerprinted

if TYPE_CHECKING:
    from asynccache._protocols import Embedder

__all__ = ["space_of", "vector_of"]

_SPACE: Final = 16  # bytes
_NORM_TOLERANCE: Final = 1e-3  # of the squared norm; rounding to float32 stays within 1e-6


def space_of(embedder: Embedder) -> bytes:
    """16 bytes for the space an embedder's vectors lie in; final once it has embedded a text.

    Its own fingerprint where it has one, else name and dim are all that is known of it.

    Raises:
        EmbedderUnavailable: its fingerprint is not 16 bytes.
    """
    if not isinstance(embedder, Fingerprinted):
        return sha256(orjson.dumps(("space", embedder.name, embedder.dim))).digest()[:_SPACE]
    fingerprint: Any = embedder.fingerprint
    if not isinstance(fingerprint, bytes) or len(fingerprint) != _SPACE:
        raise EmbedderUnavailable(f"the embedder's fingerprint is not {_SPACE} bytes")
    return fingerprint


def vector_of(made: Any, dim: int | None) -> bytes:
    """The one vector that an embedder has made, as little-endian float32.

    Args:
        made: what ``embed`` returned for one text.
        dim: its length; None when it is not known.

    Raises:
        EmbedderUnavailable: it is not one vector of finite numbers, of that length and of norm 1.
    """
    shape: tuple[int, ...] = getattr(made, "shape", ())
    if len(shape) != 2 or shape[0] != 1 or shape[1] < 1 or dim not in (None, shape[1]):  # noqa: PLR2004
        wanted = "(1, dim)" if dim is None else f"(1, {dim})"
        raise EmbedderUnavailable(f"the embedder gave an array of shape {shape}, not {wanted}")
    row = made[0].astype("<f4")
    # A NaN fails the comparison; a square beyond float32 is infinite and fails it too.
    if not abs(float(row @ row) - 1.0) <= 2 * _NORM_TOLERANCE:
        raise EmbedderUnavailable("the embedder gave a vector that is not finite or not of norm 1")
    return bytes(row.tobytes())
