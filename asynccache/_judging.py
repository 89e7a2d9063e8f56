"""What is decided about a near question, and what is learnt of it. All immutable; none does I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from asynccache._models import Candidate

__all__ = ["Account", "AnswerPair", "Estimate", "Judgement", "Label", "LabelKind", "LabelPage", "Ruling"]

LabelKind: TypeAlias = Literal["miss", "audit", "reject", "accept"]
"""How it came to be known: a miss brought a fresh answer, a hit was asked upstream again to see, or the
caller said so."""


class AnswerPair(NamedTuple):
    """Two answers, to be told equal or not."""

    asked: str
    """The question asked now."""
    stored_for: str
    """The question the stored answer was made for."""
    fresh: str
    """Text of the fresh answer."""
    stored: str
    """Text of the stored answer."""


class Judgement(NamedTuple):
    """What a decision thought of the best candidate."""

    candidate: Candidate
    score: float
    """Log odds that its answer is right, from the two questions alone."""
    calibrated: float
    """The same, with what is known of the questions around."""
    limit: float
    """Least ``calibrated`` that was served at that time; infinity when nothing was."""
    version: bytes
    """16 bytes: what made the score. Scores of different versions are not comparable."""


class Ruling(NamedTuple):
    """The end of a decision over some candidates."""

    accepted: Candidate | None
    """The one whose answer is served."""
    reasons: tuple[str, ...] = ()
    """Why not the others: one for each candidate that was refused, in their order."""
    judgement: Judgement | None = None
    """What can be learnt from; None when nothing can."""


class Estimate(NamedTuple):
    """How many of the semantic hits served lately were wrong, 0 to 1."""

    rate: float
    low: float
    high: float
    """Ends of the 95 % interval."""


class Account(NamedTuple):
    """How a decision keeps its promise."""

    labels: int
    """It has learnt from."""
    wrong: Estimate | None
    """None: it has served nothing lately."""
    limits: Mapping[str | None, float]
    """Least calibrated score served now, log odds, by namespace; infinity where nothing is."""


class Label(NamedTuple):
    """Whether a stored answer was right for a question that was not its own. Holds no text."""

    key: bytes
    """Of the stored question, 32 bytes."""
    asked: bytes
    """Of the question asked, 32 bytes."""
    family: bytes
    """16 bytes: the class of partitions that keep one promise together."""
    version: bytes
    """16 bytes; see ``Judgement.version``."""
    score: float
    calibrated: float
    """See ``Judgement``."""
    same: bool
    """Whether the stored answer is right."""
    kind: LabelKind
    missed: float
    """Share of right answers that who judged calls wrong, 0 to 1."""
    accepted: float
    """Share of wrong answers that who judged calls right, 0 to 1."""
    at: float
    """Seconds since the epoch."""
    origin: bytes
    """16 bytes: by whom it was learnt, so that nobody takes up its own label twice."""

    @property
    def lasting(self) -> bool:
        """Whether a caller gave it: such labels are few, and must not give way to the many of misses."""
        return self.kind in ("reject", "accept")

    def __repr__(self) -> str:
        return f"<Label {self.kind} {'same' if self.same else 'different'}>"


class LabelPage(NamedTuple):
    """Labels after a cursor, in the order in which they were stored."""

    labels: list[Label]
    cursor: int
    """After which to go on."""
    more: bool
    """Whether there is more at once."""
