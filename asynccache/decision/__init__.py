"""When a stored answer is right for a question that is near another: scores, labels, and a promise."""

from __future__ import annotations

from asynccache.decision.equivalence import BuiltinJudge, LLMJudge
from asynccache.decision.guards import GUARDS, Guarded
from asynccache.decision.language import foreign
from asynccache.decision.pair_score import PairScore
from asynccache.decision.prepared import Prepared, prepare
from asynccache.decision.promise import Prior
from asynccache.decision.promised import PromisedDecision
from asynccache.decision.remembering import Remembering
from asynccache.decision.vcache import VCacheDecision, VCachePolicy

__all__ = [
    "GUARDS",
    "BuiltinJudge",
    "Guarded",
    "LLMJudge",
    "PairScore",
    "Prepared",
    "Prior",
    "PromisedDecision",
    "Remembering",
    "VCacheDecision",
    "VCachePolicy",
    "foreign",
    "prepare",
]
