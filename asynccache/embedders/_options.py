"""What embedders accept as their options. Pure."""

from __future__ import annotations

from asynccache._errors import ConfigurationError

__all__ = ["checked_number", "checked_seconds"]


def checked_number(name: str, given: int, *, least: int) -> int:
    """A whole number of at least ``least``."""
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise ConfigurationError(f"{name}: expected a whole number of at least {least}, got {given!r}")
    return given


def checked_seconds(name: str, given: float) -> float:
    """Seconds above 0, and not endless."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given < float("inf"):
        raise ConfigurationError(f"{name}: expected seconds above 0, got {given!r}")
    return given
