"""Which protocol a path belongs to."""

from __future__ import annotations

import re
from typing import Final

from asynccache._registry import find_dialect, known_dialects

__all__ = ["dialect_of", "paths"]

_AMBIGUOUS: Final = frozenset({"/messages", "/responses"})
"""Paths that other resources end in too (``/v1/threads/…/messages``): a version must stand before them."""

_VERSION: Final = re.compile(r"v\d+[a-z0-9]*")


def paths() -> dict[str, str]:
    """Dialect names by path below the base URL."""
    return {find_dialect(name).path: name for name in known_dialects()}


def dialect_of(path: str) -> str | None:
    """The dialect whose requests are posted to ``path``, wherever its base URL is; None for other paths."""
    known = paths()
    below = max((below for below in known if path.endswith(below)), key=len, default=None)
    if below is None:
        return None
    before = path[: -len(below)].rpartition("/")[2]
    return None if below in _AMBIGUOUS and _VERSION.fullmatch(before) is None else known[below]
