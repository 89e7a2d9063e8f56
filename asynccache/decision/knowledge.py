"""All that labels have taught, and what it means for the next question. Pure: no I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from asynccache.decision.promise import Prior, Promise
from asynccache.decision.records import Known, Records

if TYPE_CHECKING:
    from asynccache._judging import Label

__all__ = ["Knowledge", "Lessons", "Rejections"]

_V = TypeVar("_V")

FAILURES: Final = 2
"""Questions for which an answer was found wrong, after which it is served to its own question alone."""
DOUBT: Final = 0.01
"""Share of errors of which no judge is free: one label alone must not turn a neighbourhood over."""
_MOST: Final = 100_000
"""Pairs, and failing answers, remembered; past it the oldest are forgotten."""
_VERSIONS: Final = 4
"""Scores told apart at a time; one is in use, others come up while models are changed."""
_FAR: Final = 15.0  # log odds beyond which a score says no more
_NAME: Final = 8  # bytes of a key, a hash, by which it is known


class Lessons:
    """What is known under one version of the score.

    Args:
        prior: what its promise expects at first.
    """

    def __init__(self, prior: Prior) -> None:
        self._records: Final = Records()
        self.promise: Final = Promise(prior)
        self.labels = 0
        """Taken up so far."""

    @property
    def nbytes(self) -> int:
        """Memory held by what grows."""
        return self._records.nbytes + self.promise.nbytes

    def take(self, label: Label) -> None:
        """Take up a label of this version."""
        self.labels += 1
        likely = _likely(label)
        self._records.learn(label.key, label.score, likely=likely)
        self._records.learn(label.asked, label.score, likely=likely, asked=True)
        if label.missed + label.accepted < 1.0:  # else it says no more than a coin
            if not label.same:
                self._records.leave(label.asked, label.key)
            elif likely > 0.5:  # noqa: PLR2004  (likelier than not)
                self._records.join(label.asked, label.key)
        self.promise.learn(
            label.family, label.calibrated, same=label.same, missed=label.missed, accepted=label.accepted
        )

    def known(self, keys: Sequence[bytes]) -> Known:
        """What is known of stored questions; see ``Records.known``."""
        return self._records.known(keys)


def _likely(label: Label) -> float:
    """How likely the answer was right: what the judge says, as far as he can be believed, by Bayes' rule."""
    missed, accepted = max(label.missed, DOUBT), max(label.accepted, DOUBT)
    right, wrong = (1.0 - missed, accepted) if label.same else (missed, 1.0 - accepted)
    before = 1.0 / (1.0 + math.exp(-max(-_FAR, min(_FAR, label.score))))
    total = before * right + (1.0 - before) * wrong
    return before * right / total if total > 0.0 else float(label.same)


class Rejections:
    """Pairs that callers have rejected, and answers that failed too often."""

    def __init__(self) -> None:
        # In order of arrival, so that the first is the oldest.
        self._rejected: Final[dict[bytes, None]] = {}
        self._failures: Final[dict[bytes, tuple[bytes, ...]]] = {}  # of an answer, for which questions

    def take(self, label: Label) -> None:
        """Take up a label."""
        pair = _pair(label.asked, label.key)
        name, asked = label.key[:_NAME], label.asked[:_NAME]
        failed = tuple(each for each in self._failures.get(name, ()) if each != asked)
        if label.same:
            if label.kind == "accept":
                self._rejected.pop(pair, None)
                _remember(self._failures, name, failed)
            return
        if label.kind == "reject":
            _remember(self._rejected, pair, None)
        if label.kind in ("audit", "reject"):
            _remember(self._failures, name, (*failed, asked)[-FAILURES:])

    def holds(self, asked: bytes, key: bytes) -> bool:
        """Whether a caller has rejected the answer to one question for the other."""
        return _pair(asked, key) in self._rejected

    def quarantined(self, key: bytes) -> bool:
        """Whether an answer was found wrong for other questions too often to be served to any."""
        return len(self._failures.get(key[:_NAME], ())) >= FAILURES


class Knowledge:
    """Lessons by version of the score, and rejections, which hold under every version.

    Args:
        prior: what a promise expects at first.
    """

    def __init__(self, prior: Prior) -> None:
        self._prior: Final = prior
        self._lessons: Final[dict[bytes, Lessons]] = {}
        self.rejections: Final = Rejections()

    def lessons(self, version: bytes) -> Lessons:
        """What is known under a version, 16 bytes."""
        found = self._lessons.get(version)
        if found is None:
            if len(self._lessons) >= _VERSIONS:
                del self._lessons[next(iter(self._lessons))]
            found = self._lessons[version] = Lessons(self._prior)
        return found

    def take(self, label: Label) -> None:
        """Take up a label."""
        self.lessons(label.version).take(label)
        self.rejections.take(label)


def _pair(asked: bytes, key: bytes) -> bytes:
    return asked[:_NAME] + key[:_NAME]


def _remember(known: dict[bytes, _V], name: bytes, value: _V) -> None:
    if name not in known and len(known) >= _MOST:
        del known[next(iter(known))]
    known[name] = value
