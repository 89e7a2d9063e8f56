"""Whether a text is in the language the pair score was made for."""

from __future__ import annotations

from typing import Final

from asynccache.decision.prepared import Prepared

__all__ = ["foreign"]

MOST: Final = 0.32
"""Share of strange words. Some 1 % of English questions have more: they are made of names and formulas."""


def foreign(prepared: Prepared) -> bool:
    """The text is not English enough for the pair score to tell what its words mean: abstain."""
    return prepared.foreign > MOST
