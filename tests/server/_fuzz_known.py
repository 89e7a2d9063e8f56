"""Faults that are known and not mended yet: cases that meet them are left out. Empty when all is well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tests.server._fuzz_case import Case

__all__ = ["UPSTREAM_KINDS", "known_fault"]

UPSTREAM_KINDS: Final = frozenset({"odd header", "odd status"})
"""A control character in a header of the response, or status 999 of what is passed on: no answer at all."""

_FAULTS: Final[Mapping[str, Callable[[Case], bool]]] = {
    "trailers become headers of the request": lambda case: b"\r\nx-trailer:" in case.pieces[-1],
    "CONNECT is passed on": lambda case: case.method == "CONNECT",
    "the body of a request that asks for another protocol is read as the next request": lambda case: (
        b"\r\nupgrade: " in case.pieces[0]
    ),
    "space after a header's value is 502": lambda case: any(
        value != value.strip() for _, value in case.headers
    ),
}


def known_fault(case: Case) -> str | None:
    """Which of them a case meets; None for those to send."""
    return next((words for words, meets in _FAULTS.items() if meets(case)), None)
