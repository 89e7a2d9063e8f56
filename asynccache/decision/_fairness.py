"""That no single asker moves what holds for everybody."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asynccache._models import Scope

__all__ = ["Fairness"]

EPOCH: Final = 1000
"""Questions and labels after which counting begins anew."""
FEW: Final = 50
"""Of them, how many a user may bring in any case."""
SHARE: Final = 0.05
"""And beyond: the largest share of all so far in the epoch."""


class Fairness:
    """Counts what users bring, and says when it is more than their share.

    Only users that requests name (``Scope.user``) can be told apart; those that name none are not limited.
    """

    def __init__(self) -> None:
        self._brought: Counter[tuple[str | None, str | None, str]] = Counter()
        self._total = 0

    def allows(self, scope: Scope) -> bool:
        """Count one more in; False when it should not count for others."""
        self._total += 1
        if scope.user is None:
            return True
        if self._total > EPOCH:
            self._brought.clear()
            self._total = 1
        who = (scope.namespace, scope.tenant, scope.user)
        if self._brought[who] >= max(FEW, SHARE * self._total):
            return False
        self._brought[who] += 1
        return True
