"""Time that stands still until a test moves it."""

from __future__ import annotations

__all__ = ["FakeClock"]


class FakeClock:
    """A ``Clock`` moved by hand.

    Args:
        start: the wall clock's first reading, seconds since the epoch. The default is a whole
            number, so that sums with short times are exact in floating point.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> float:
        """Wall clock, seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since this clock was made, as far as it was advanced."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass: both clocks move. Raises ValueError when ``seconds`` is negative."""
        if seconds < 0:
            raise ValueError(f"time passes forward; got {seconds!r} (see jump)")
        self._now += seconds
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator would; no time passes."""
        self._now += seconds

    def __repr__(self) -> str:
        return f"<FakeClock {self._now!r}>"
