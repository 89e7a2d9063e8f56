"""The real clock."""

from __future__ import annotations

import time

__all__ = ["SystemClock"]


class SystemClock:
    """The machine's time, in seconds; what every ``clock=`` option defaults to."""

    now = staticmethod(time.time)
    """Wall clock, seconds since the epoch."""

    monotonic = staticmethod(time.monotonic)
    """Seconds that never run backwards, from an arbitrary start."""
