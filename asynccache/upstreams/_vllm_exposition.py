"""The text in which Prometheus metrics are served, as samples. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

__all__ = ["Sample", "samples"]

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,?)')
_ESCAPE: Final = re.compile(r"\\(.)")
_ESCAPED: Final = {"n": "\n"}  # any other escaped character stands for itself


class Sample(NamedTuple):
    """One line of the text."""

    name: str
    labels: Mapping[str, str]
    value: float
    """As written, NaN and the infinities included."""


def samples(text: str, *, prefix: str) -> Iterator[Sample]:
    """The samples whose name begins with ``prefix``; a line that is none is passed over.

    Args:
        text: the text format, or OpenMetrics (whose exemplars and time stamps are not read).
        prefix: of the names looked for; the other lines, most of a text, cost next to nothing.
    """
    for line in text.splitlines():
        if line.startswith(prefix) and (sample := _sample(line)) is not None:
            yield sample


def _sample(line: str) -> Sample | None:
    name = _NAME.match(line)
    if name is None:
        return None
    labels: dict[str, str] = {}
    at = name.end()
    if line.startswith("{", at):
        end = _read_labels(line, at + 1, labels)
        if end is None:
            return None
        at = end
    words = line[at:].split(None, 1)
    try:
        return Sample(name[0], labels, float(words[0]))
    except (IndexError, ValueError):
        return None


def _read_labels(line: str, at: int, labels: dict[str, str]) -> int | None:
    """Where the labels end, behind the brace; None when they never do."""
    while (label := _LABEL.match(line, at)) is not None:
        labels[label[1]] = _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), label[2])
        at = label.end()
        if not label[3]:
            break
    while line.startswith(" ", at):
        at += 1
    return at + 1 if line.startswith("}", at) else None
