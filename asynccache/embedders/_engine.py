"""What runs a model in a thread, as the thread's owner sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from asynccache._errors import EmbedderUnavailable, TextRefused
from asynccache.embedders._rows import unavailable, unit_rows

if TYPE_CHECKING:
    from asynccache.embedders._rows import Outcome

__all__ = ["Engine", "Facts", "Model", "ModelMissing", "outcomes_of"]

_CHARACTERS_A_TOKEN: Final = 64
"""No text worth asking has so many. One beyond it is refused unread: to count its tokens could take the
thread, which everyone shares, seconds."""


class ModelMissing(EmbedderUnavailable):
    """The model is not on this machine; a download may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Which model it is.

    Args:
        name: the model's name.
        digest: of the file with its weights: SHA-256, hexadecimal.
        dim: length of the vectors.
        pooling: how the vectors of the tokens become one.
        window: tokens a text may have; None sets no limit.
    """

    name: str
    digest: str
    dim: int
    pooling: str
    window: int | None

    @property
    def too_long(self) -> str:
        """The reason to refuse a text beyond the window."""
        return f"the text is longer than the model's window of {self.window} tokens"

    @property
    def fingerprint(self) -> bytes:
        """16 bytes that stand for all of it."""
        told = orjson.dumps([self.name, self.digest, self.dim, self.pooling, self.window])
        return sha256(told).digest()[:16]


class Model(Protocol):
    """A loaded model. Only one thread uses it; it may raise anything."""

    @property
    def facts(self) -> Facts: ...

    def refusals(self, texts: Sequence[str]) -> list[str | None]:
        """Of each text, why its vector would not say what it means; None when it does."""
        ...

    def embed(self, texts: Sequence[str]) -> Any:
        """The vectors, shape (n, dim), of any norm."""
        ...


class Engine(Protocol):
    """Where a model comes from. Both methods block; the second runs beside the first in another thread."""

    def load(self) -> Model:
        """Load from this machine. Raises ModelMissing when it is not there, or anything else."""
        ...

    def download(self) -> None:
        """Fetch it onto this machine; may raise anything."""
        ...


def outcomes_of(model: Model, texts: Sequence[str]) -> list[Outcome]:
    """Embed a batch. Raises nothing: what fails in company is tried once more alone."""
    try:
        return _outcomes(model, texts)
    except BaseException as error:  # noqa: BLE001  (a panic of the tokenizer, which is in Rust, is no Exception)
        if len(texts) == 1:
            return [unavailable(error)]
        return [outcome for text in texts for outcome in outcomes_of(model, [text])]


def _outcomes(model: Model, texts: Sequence[str]) -> list[Outcome]:
    window = model.facts.window
    readable = [
        place
        for place, text in enumerate(texts)
        if window is None or len(text) <= window * _CHARACTERS_A_TOKEN
    ]
    reasons: list[str | None] = [model.facts.too_long] * len(texts)
    for place, reason in zip(readable, model.refusals([texts[place] for place in readable]), strict=True):
        reasons[place] = reason
    fit = [text for text, reason in zip(texts, reasons, strict=True) if reason is None]
    rows = iter(unit_rows(model.embed(fit), len(fit)) if fit else ())
    return [next(rows) if reason is None else TextRefused(reason) for reason in reasons]
