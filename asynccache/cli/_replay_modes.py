"""Ways to decide that a replay compares, as they are written."""

from __future__ import annotations

import argparse
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from asynccache.cli._argument_types import cosine, error_share

__all__ = ["DEFAULTS", "Mode", "parse_mode"]

Named: TypeAlias = Literal["promise", "threshold", "vcache", "shadow"]

_KNOWN: Final = "promise:SHARE, threshold:COSINE, vcache:SHARE, shadow:SHARE, none"


class Mode(NamedTuple):
    """A decision with its setting."""

    decision: Named | None
    """None: the exact tier only."""
    setting: float
    """Of ``"threshold"`` the least cosine, of the others ``max_error``; 0 without a decision."""

    def __str__(self) -> str:
        return "none" if self.decision is None else f"{self.decision}:{self.setting:g}"


def parse_mode(text: str) -> Mode:
    """A mode as written on the command line: ``promise:0.02``, ``threshold:0.9``, ``none``."""
    if text == "none":
        return Mode(None, 0.0)
    name, separator, setting = text.partition(":")
    for known in get_args(Named):
        if name == known and separator:
            try:
                return Mode(known, (cosine if known == "threshold" else error_share)(setting))
            except argparse.ArgumentTypeError as error:
                raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    raise argparse.ArgumentTypeError(f"unknown mode {text!r}; known: {_KNOWN}")


DEFAULTS: Final = (
    *(Mode("promise", max_error) for max_error in (0.01, 0.02, 0.05)),
    *(Mode("threshold", least) for least in (0.7, 0.8, 0.92, 0.95)),
    Mode("vcache", 0.02),
    Mode(None, 0.0),
)
