"""What an argument's text may be."""

from __future__ import annotations

import argparse
import math
from typing import Any, Final

import orjson

__all__ = ["MOST_AT_ONCE", "concurrency", "cosine", "count", "error_share", "param", "seconds", "share"]

MOST_AT_ONCE: Final = 256
"""Answers the HTTP upstream has in the making at once; more would only wait."""


def param(text: str) -> tuple[str, Any]:
    """``NAME=JSON``: the name, and the value."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError("expected NAME=JSON")
    try:
        return name, orjson.loads(value)
    except orjson.JSONDecodeError:
        raise argparse.ArgumentTypeError(
            f"the value of {name!r} is not JSON; text goes in double quotes: '{name}=\"…\"'"
        ) from None


def count(text: str) -> int:
    """A whole number from 1 to a million."""
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 10**6:
        raise argparse.ArgumentTypeError("expected a whole number from 1 to 1000000")
    return int(text)


def concurrency(text: str) -> int:
    """A whole number from 1 to ``MOST_AT_ONCE``."""
    if count(text) > MOST_AT_ONCE:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {MOST_AT_ONCE}")
    return int(text)


def cosine(text: str) -> float:
    """A number from 0 to 1."""
    if not 0 <= (found := _number(text)) <= 1:
        raise argparse.ArgumentTypeError("expected a cosine from 0 to 1")
    return found


def share(text: str) -> float:
    """A number from 0 to 1."""
    if not 0 <= (found := _number(text)) <= 1:
        raise argparse.ArgumentTypeError("expected a share from 0 to 1")
    return found


def error_share(text: str) -> float:
    """A number above 0 and below 1."""
    if not 0 < (found := _number(text)) < 1:
        raise argparse.ArgumentTypeError("expected a share above 0 and below 1, as 0.02 for two in a hundred")
    return found


def seconds(text: str) -> float:
    """A number from 0 to 60."""
    if not 0 <= (found := _number(text)) <= 60:  # noqa: PLR2004  (a demo that answers later is one nobody waits for)
        raise argparse.ArgumentTypeError("expected seconds from 0 to 60")
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
