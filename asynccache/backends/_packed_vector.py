"""Vectors in half of their bytes, or a quarter.

A packed vector is ``form 1 | data``: as float16, or as a scale (float32) and one int8 for each number. The
vector is of norm 1 again when it is unpacked.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

__all__ = ["FORMS", "VectorForm", "pack", "unpack"]

VectorForm: TypeAlias = Literal["float32", "float16", "int8"]

FORMS: Final[tuple[VectorForm, ...]] = ("float32", "float16", "int8")
"""A form is stored as its place here: new ones go to the end."""


def pack(vector: bytes, form: VectorForm) -> bytes:
    """The packed form of a float32 vector, little-endian.

    Raises:
        ValueError: it is zero.
    """
    import numpy as np

    mark = bytes([FORMS.index(form)])
    numbers = np.frombuffer(vector, "<f4")
    if form == "float32":
        return mark + vector
    if form == "float16":
        return mark + bytes(numbers.astype("<f2").tobytes())
    largest = np.float32(np.abs(numbers).max())
    if not largest > 0:
        raise ValueError("a vector without a direction")
    steps = np.rint(numbers / largest * 127).astype(np.int8)
    return mark + bytes(largest.astype("<f4").tobytes()) + bytes(steps.tobytes())


def unpack(packed: bytes) -> bytes:
    """The float32 vector, little-endian and of norm 1 again.

    Raises:
        ValueError: it is no packed vector.
    """
    import numpy as np

    if len(packed) < 2 or packed[0] >= len(FORMS):  # noqa: PLR2004  (a mark and something)
        raise ValueError("no packed vector")
    form, data = FORMS[packed[0]], packed[1:]
    if form == "float32":
        return data
    if form == "float16":
        numbers = np.frombuffer(data, "<f2").astype(np.float32)
    else:
        if len(data) <= 4:  # noqa: PLR2004  (a scale and something)
            raise ValueError("no packed vector")
        scale = np.frombuffer(data[:4], "<f4")[0]
        numbers = np.frombuffer(data[4:], np.int8).astype(np.float32) / np.float32(127) * scale
    norm = float(np.sqrt(np.dot(numbers.astype(np.float64), numbers.astype(np.float64))))
    if not 0 < norm < float("inf"):
        raise ValueError("a packed vector without a direction")
    return bytes((numbers / np.float32(norm)).astype("<f4").tobytes())
