"""Who waits for whom, so that no two flights wait for each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asynccache.stages._flight import Flight

__all__ = ["Waits"]


class Waits:
    """Which flights wait for which: a flight whose upstream call asks a question waits for the answer."""

    def __init__(self) -> None:
        self._waits: Final[dict[Flight, list[Flight]]] = {}  # no empty lists

    def circular(self, above: Collection[Flight], flight: Flight) -> bool:
        """Whether a flight waits, by way of others or not, for one of those in whose calls this code runs."""
        seen: set[Flight] = set()
        ahead = [flight]
        while ahead:
            each = ahead.pop()
            if each in above:
                return True
            if each not in seen:
                seen.add(each)
                ahead += self._waits.get(each, ())
        return False

    @contextmanager
    def waiting(self, above: Collection[Flight], flight: Flight) -> Iterator[None]:
        """Those in whose calls this code runs wait for a flight."""
        for each in above:
            self._waits.setdefault(each, []).append(flight)
        try:
            yield
        finally:
            for each in above:
                held = self._waits[each]
                held.remove(flight)
                if not held:
                    del self._waits[each]
