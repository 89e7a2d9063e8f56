"""Words for the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["columns", "complain", "duration", "say", "size", "table"]

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def say(text: str) -> None:
    """A line, or several, on standard output."""
    sys.stdout.write(f"{text}\n")


def complain(text: str) -> None:
    """One sentence on standard error."""
    sys.stderr.write(f"asynccache: {text}\n")


def table(rows: Mapping[str, str]) -> str:
    """Names and values in two columns."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def columns(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A line for each row, under a heading. The last column may be of any width."""
    lines = [heading, *rows]
    *widths, _ = (max(map(len, column)) for column in zip(*lines, strict=True))
    padded = ([f"{cell:<{width}}" for cell, width in zip(line[:-1], widths, strict=True)] for line in lines)
    return "\n".join(
        "  ".join((*cells, line[-1])).rstrip() for cells, line in zip(padded, lines, strict=True)
    )


def duration(seconds: float) -> str:
    """Three digits and a unit, from microseconds to days."""
    if seconds < 1e-3:  # noqa: PLR2004
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{_digits(seconds * 1e3)} ms"
    if seconds < 10 * _MINUTE:
        return f"{_digits(seconds)} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.0f} h"
    return f"{seconds / _DAY:.0f} days"


def _digits(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004


def size(count: int) -> str:
    """Bytes in the unit that keeps the number short."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:  # noqa: PLR2004
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{_digits(value)} {unit}"
        value /= 1000
    return f"{_digits(value)} GB"
