"""What a text must be to be embedded, and its vector to be one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asynccache._errors import EmbedderError, EmbedderUnavailable, TextRefused

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Outcome", "Row", "again", "assembled", "not_installed", "size_of", "unavailable", "unit_rows"]

Row: TypeAlias = "NDArray[np.float32]"
"""The vector of one text: shape (1, dim), norm 1, read-only."""

Outcome: TypeAlias = "Row | EmbedderError"

_LEAST_NORM: Final = 1e-12
"""Below it a vector's direction is rounding noise."""


def size_of(text: str) -> int:
    """How long a text is for a model: its bytes in UTF-8.

    Bytes are nearer to tokens than characters are when scripts mix: a Chinese character, a token of its
    own, counts three, like a short piece of an English word.

    Raises:
        TextRefused: there is nothing in it to embed, or it is not Unicode text.
    """
    if not text or text.isspace():
        raise TextRefused("the text is empty")
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise TextRefused("the text is not valid Unicode (a lone surrogate)") from None


def unit_rows(given: Any, count: int) -> list[Outcome]:
    """The vectors an embedder gave, each scaled to norm 1, or refused when it has no direction.

    Args:
        given: an array or a sequence of sequences of numbers.
        count: vectors asked for.

    Raises:
        EmbedderUnavailable: these are not ``count`` vectors of one length.
        Exception: numpy's, when they are not numbers.
    """
    import numpy as np

    with np.errstate(all="ignore"):  # what overflows is refused below, and no warning anyone could act on
        vectors = np.asarray(given, dtype=np.float64)
        if vectors.ndim != 2 or len(vectors) != count or not vectors.shape[1]:  # noqa: PLR2004  (a matrix)
            raise EmbedderUnavailable(
                f"the embedder gave an array of shape {vectors.shape} for {count} texts"
            )
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))  # in a third of np.linalg.norm's time
        units = (vectors / norms[:, None]).astype(np.float32)
        useful = ((norms > _LEAST_NORM) & (norms < np.inf)).tolist()  # a NaN fails both
    return [_row(units[place : place + 1]) if useful[place] else _useless() for place in range(count)]


def _row(unit: NDArray[np.float32]) -> Row:
    row = unit.copy()  # a slice would keep the whole batch in memory
    row.setflags(write=False)
    return row


def _useless() -> TextRefused:
    return TextRefused("the embedder gave a vector without a direction (zero or not finite)")


def assembled(rows: Sequence[Row], dim: int) -> NDArray[np.float32]:
    """The rows as one read-only array, shape (n, dim); of a single row, that very row."""
    if len(rows) == 1:
        return rows[0]
    try:
        import numpy as np
    except ImportError as error:
        raise not_installed(error) from error

    whole = np.concatenate(rows) if rows else np.empty((0, dim), dtype=np.float32)
    whole.setflags(write=False)
    return whole


def unavailable(error: BaseException) -> EmbedderError:
    """A failure as one of ours. Only the kind of a foreign one is told: its words may quote the text."""
    if isinstance(error, EmbedderError):
        return error
    explained = EmbedderUnavailable(f"the embedder failed ({type(error).__name__})")
    explained.__cause__ = error
    return explained


def not_installed(error: ImportError) -> EmbedderUnavailable:
    """The sentence for a package of the ``semantic`` extra that is missing."""
    return EmbedderUnavailable(f'embedding needs {error.name}; pip install "asynccache[semantic]"')


def again(error: EmbedderError) -> EmbedderError:
    """The same error for another caller: one exception raised in two tasks mixes up their tracebacks."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy
