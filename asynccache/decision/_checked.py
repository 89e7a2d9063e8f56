"""Options, checked as they come in."""

from __future__ import annotations

from math import inf

from asynccache._errors import ConfigurationError

__all__ = ["checked_count", "checked_number", "checked_seconds", "checked_share"]


def checked_number(name: str, given: float) -> float:
    """A number, not NaN. Raises ConfigurationError."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or given != given:  # noqa: PLR0124  (NaN)
        raise ConfigurationError(f"{name}={given!r}: expected a number")
    return given


def checked_share(name: str, given: float) -> float:
    """A number from 0 to 1. Raises ConfigurationError."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= 1:
        raise ConfigurationError(f"{name}={given!r}: expected a share from 0 to 1")
    return given


def checked_seconds(name: str, given: float) -> float:
    """A finite number above 0. Raises ConfigurationError."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given < inf:
        raise ConfigurationError(f"{name}={given!r}: expected a positive number of seconds")
    return given


def checked_count(name: str, given: int) -> int:
    """A whole number, 1 or more. Raises ConfigurationError."""
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ConfigurationError(f"{name}={given!r}: expected 1 or more")
    return given
