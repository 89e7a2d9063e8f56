"""Faults that are known and not mended yet: cases that meet them are left out. Empty when all is well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tests.server._fuzz_case import Case

__all__ = ["UPSTREAM_KINDS", "known_fault"]

UPSTREAM_KINDS: Final[frozenset[str]] = frozenset()
"""What an upstream does not say, of ``_fuzz_answers.KINDS``."""

_FAULTS: Final[Mapping[str, Callable[[Case], bool]]] = {}


def known_fault(case: Case) -> str | None:
    """Which of them a case meets; None for those to send."""
    return next((words for words, meets in _FAULTS.items() if meets(case)), None)
