"""The stored form of a label: fixed fields and a tag of 16 bytes, SHA-256 over all before, cut.

Layout (numbers big-endian)::

    format 1 | kind 1 | same 1 | key 32 | asked 32 | family 16 | version 16 | origin 16
    | score 8 | calibrated 8 | missed 8 | accepted 8 | at 8 | tag 16
"""

from __future__ import annotations

from hashlib import sha256
from math import isfinite
from struct import Struct
from struct import error as StructError  # noqa: N812  (it is a class)
from typing import Final, get_args

from asynccache._judging import Label, LabelKind

__all__ = ["LABEL_BYTES", "decode_label", "encode_label"]

_FORMAT: Final = 1
_FORM: Final = Struct(">BBB32s32s16s16s16s5d")
_TAG: Final = 16
_KINDS: Final[tuple[LabelKind, ...]] = get_args(LabelKind)
"""A kind is stored as its place here: new ones go to the end."""

LABEL_BYTES: Final = _FORM.size + _TAG
"""What a label takes, beside what its row does."""


def encode_label(label: Label) -> bytes:
    """The stored form.

    Raises:
        ValueError: a field has the wrong type or length, a number is not finite, or a share is none.
    """
    sizes = tuple(map(len, (label.key, label.asked, label.family, label.version, label.origin)))
    if sizes != (32, 32, 16, 16, 16):
        raise ValueError("key and asked of a label have 32 bytes, family, version and origin 16")
    numbers = (label.score, label.calibrated, label.missed, label.accepted, label.at)
    try:
        if label.kind not in _KINDS or not _sound(*numbers):
            raise ValueError("a label's kind is none, or a number of it is not finite, or no share")
        packed = _FORM.pack(
            _FORMAT,
            _KINDS.index(label.kind),
            label.same,
            label.key,
            label.asked,
            label.family,
            label.version,
            label.origin,
            *numbers,
        )
    except (StructError, TypeError):
        raise ValueError("a field of a label has the wrong type") from None
    return packed + sha256(packed).digest()[:_TAG]


def decode_label(data: object) -> Label | None:
    """The label stored as ``data``; None when it is damaged, or of a format that is not known."""
    if not isinstance(data, bytes) or len(data) != LABEL_BYTES:
        return None
    if sha256(data[:-_TAG]).digest()[:_TAG] != data[-_TAG:]:
        return None
    form, kind, same, key, asked, family, version, origin, *numbers = _FORM.unpack(data[:-_TAG])
    if form != _FORMAT or kind >= len(_KINDS) or not _sound(*numbers):
        return None
    score, calibrated, missed, accepted, at = numbers
    return Label(
        key=key,
        asked=asked,
        family=family,
        version=version,
        score=score,
        calibrated=calibrated,
        same=bool(same),
        kind=_KINDS[kind],
        missed=missed,
        accepted=accepted,
        at=at,
        origin=origin,
    )


def _sound(score: float, calibrated: float, missed: float, accepted: float, at: float) -> bool:
    return all(map(isfinite, (score, calibrated, at))) and 0 <= missed <= 1 and 0 <= accepted <= 1
