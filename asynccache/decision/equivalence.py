"""Is this answer the same as that one? What makes a label of a fresh answer."""

from __future__ import annotations

from asynccache.decision._builtin_judge import BuiltinJudge
from asynccache.decision._llm_judge import LLMJudge

__all__ = ["BuiltinJudge", "LLMJudge"]
