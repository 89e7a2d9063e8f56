"""Whether what is stored is still what somebody has read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asynccache._models import Entry

__all__ = ["same_entry"]


def same_entry(one: Entry, other: Entry) -> bool:
    """True when they differ in their embedding at most, which reading may have left out."""
    return one is other or replace(one, embedding=None) == replace(other, embedding=None)
