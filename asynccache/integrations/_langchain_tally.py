"""What a LangChain cache has done so far, counted from any thread."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from asynccache.backends._fork import watch_forks

__all__ = ["LLMCacheStats", "Tally"]

_Happening: TypeAlias = Literal["hits", "misses", "stored", "refused", "errors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMCacheStats:
    """What an ``AsyncCacheLLM`` has done in this process since it was made.

    Args:
        hits: look-ups answered by a stored result.
        misses: look-ups that found nothing, or failed.
        stored: results stored.
        refused: results not stored because they were incomplete, empty, or would not come back as they were.
        errors: failures of the store that were passed over.
    """

    hits: int
    misses: int
    stored: int
    refused: int
    errors: int

    @property
    def hit_rate(self) -> float:
        """Hits among all look-ups, 0 to 1; 0 when there was none."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else 0.0


class Tally:
    """Counts, for any number of threads."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()  # guards the counts
        self._counts: Final[Counter[str]] = Counter()
        watch_forks(self)

    def count(self, what: _Happening) -> int:
        """One more of these; how many there are now."""
        with self._lock:
            self._counts[what] += 1
            return self._counts[what]

    def stats(self) -> LLMCacheStats:
        """The counts, as of one moment."""
        with self._lock:
            counts = self._counts
            return LLMCacheStats(
                hits=counts["hits"],
                misses=counts["misses"],
                stored=counts["stored"],
                refused=counts["refused"],
                errors=counts["errors"],
            )

    # Around a fork

    def before_fork(self) -> None:
        """Wait until no other thread is counting."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    after_fork_in_child = after_fork_in_parent
