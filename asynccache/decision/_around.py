"""A decision around another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

from asynccache._lifespan import entered
from asynccache._protocols import Accountable, Comparing, Learning

if TYPE_CHECKING:
    from asynccache._judging import Ruling
    from asynccache._models import Candidate
    from asynccache._protocols import Decision

__all__ = ["AroundDecision", "refusals"]


class AroundDecision:
    """Is what the inner decision is, but for its ruling.

    It learns, compares and accounts if the inner one does, is open while that is, and has whatever other
    public attribute that has.
    """

    def __init__(self, inner: Decision) -> None:
        self.inner: Final = inner
        # On the object, not the class: what a decision can do is asked by looking for these.
        if isinstance(inner, Learning):
            self.learn = inner.learn
        if isinstance(inner, Comparing):
            self.nearest = inner.nearest
        if isinstance(inner, Accountable):
            self.account = inner.account

    @property
    def lowest(self) -> float:
        """See ``Decision``."""
        return self.inner.lowest

    @property
    def neighbours(self) -> int:
        """See ``Decision``."""
        return self.inner.neighbours

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold the inner decision open."""
        return entered(self.inner)

    def __getattr__(self, name: str) -> Any:
        # Before the inner one is set (a copy being made), or for a name that is nobody else's business.
        if name.startswith("_") or name == "inner":
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        return getattr(self.inner, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.inner!r}>"


def refusals(
    candidates: Sequence[Candidate], ruling: Ruling, asked: Iterable[Candidate]
) -> list[tuple[Candidate, str | None]]:
    """The candidates that were not accepted, in order, each with the reason a ruling has for it, if any.

    Args:
        candidates: all there are.
        ruling: over those ``asked`` about.
        asked: some of them, in order.
    """
    refused = [each for each in asked if each is not ruling.accepted]
    if ruling.accepted is None:
        missing = len(refused) - len(ruling.reasons)
        reasons: Sequence[str | None] = (*ruling.reasons, *["refused by the decision"] * missing)
    else:
        reasons = (*ruling.reasons, *[None] * len(refused))
    found = {id(each): reason for each, reason in zip(refused, reasons, strict=False)}
    return [(each, found.get(id(each))) for each in candidates if each is not ruling.accepted]
