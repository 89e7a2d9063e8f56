"""When a stored answer is right for a question that is near another: scores, labels, and a promise."""

from __future__ import annotations

from asynccache.decision.language import foreign
from asynccache.decision.pair_score import PairScore
from asynccache.decision.prepared import Prepared, prepare

__all__ = ["PairScore", "Prepared", "foreign", "prepare"]
