"""The stages a pipeline is made of; add your own beside them, or pass any async function."""

from __future__ import annotations

if __name__ != "asynccache.stages":
    raise ImportError("these are the stages of asynccache: use `from asynccache.stages import …`")

from asynccache.stages.alias import WriteAlias
from asynccache.stages.audit import Audit
from asynccache.stages.divided import Divided
from asynccache.stages.learn import Learn
from asynccache.stages.leased import Leased
from asynccache.stages.lookup import ExactLookup
from asynccache.stages.miss import MissHandler
from asynccache.stages.normalize import Normalize
from asynccache.stages.prefix_watch import PrefixBreak, PrefixWatch
from asynccache.stages.semantic import SemanticLookup
from asynccache.stages.shape import PromptShaper
from asynccache.stages.single_flight import SingleFlight
from asynccache.stages.stale import StaleIfError
from asynccache.stages.threshold import Threshold
from asynccache.stages.validate import ENTRY_CHECKS, Validate
from asynccache.stages.write import Write

__all__ = [
    "ENTRY_CHECKS",
    "Audit",
    "Divided",
    "ExactLookup",
    "Learn",
    "Leased",
    "MissHandler",
    "Normalize",
    "PrefixBreak",
    "PrefixWatch",
    "PromptShaper",
    "SemanticLookup",
    "SingleFlight",
    "StaleIfError",
    "Threshold",
    "Validate",
    "Write",
    "WriteAlias",
]
