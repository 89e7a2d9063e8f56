"""The plainest semantic decision: a least cosine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from asynccache._errors import ConfigurationError
from asynccache._models import Source

if TYPE_CHECKING:
    from asynccache._models import Candidate, Request

__all__ = ["Threshold"]

LEAST: Final = 0.95


class Threshold:
    """Refuse a semantic candidate whose cosine to the question is below a limit.

    No limit makes this safe: questions that differ in a number, a negation or two names swapped are
    nearer to each other than most paraphrases. On streams with such questions 0.95 was wrong in 48 % of
    its semantic hits, and 0.8 in 42 %. A model that ignores case, accents or white space, as the bundled
    one does, gives questions that differ in these alone the cosine 1.

    Args:
        least: the least cosine, 0 to 1; or one for each ``Scope.namespace``, where None stands for all
            that are not named.
        floor: how far down a request's ``Control.threshold`` may go; None: it may only raise the limit.

    Raises:
        ConfigurationError: a number that is none, or not between 0 and 1.
    """

    def __init__(
        self, least: float | Mapping[str | None, float] = LEAST, *, floor: float | None = None
    ) -> None:
        if isinstance(least, Mapping) and not all(name is None or isinstance(name, str) for name in least):
            raise ConfigurationError("threshold: expected names of namespaces, or None, before the cosines")
        by_namespace: dict[str | None, float] = dict(least) if isinstance(least, Mapping) else {None: least}
        for namespace, value in by_namespace.items():
            where = "threshold" if namespace is None else f"threshold[{namespace!r}]"
            _check(where, value)
        if floor is not None:
            _check("threshold_floor", floor)
        self._otherwise: Final = by_namespace.pop(None, LEAST)
        self._by_namespace: Final = by_namespace
        self._floor: Final = floor
        self.lowest: Final = min(self._otherwise, *by_namespace.values(), 1.0 if floor is None else floor)
        """No request accepts less."""

    def least(self, request: Request) -> float:
        """What this request demands."""
        usual = self._by_namespace.get(request.scope.namespace, self._otherwise)
        asked = request.control.threshold
        if asked is None or asked == usual:
            return usual
        floor = usual if self._floor is None else min(self._floor, usual)
        return max(asked, floor)

    def __call__(self, request: Request, candidate: Candidate) -> str | None:
        """A reason to refuse the candidate, or None."""
        if candidate.source is Source.EXACT or candidate.similarity >= self.least(request):
            return None
        return "below the threshold"


def _check(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigurationError(f"{name}={value!r}: expected a cosine from 0 to 1")
