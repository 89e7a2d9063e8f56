"""What a fault proxy does to the bytes of one direction: pure decisions, drawn from a seeded chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Chance", "Faults"]

Delay: TypeAlias = "float | tuple[float, float] | Callable[[], float]"
"""Seconds: always the same, drawn evenly between two bounds, or asked for each time."""

Corruption: TypeAlias = "float | Callable[[bytes], bytes]"
"""The share of bytes in which one bit is flipped, or what to make of the bytes."""


class Chance:
    """The random numbers of one direction of one connection.

    Delays and corruption draw from streams of their own: how the network cut the bytes up changes
    nothing about which of them are corrupted.
    """

    def __init__(self, seed: str) -> None:
        self.delays = random.Random(f"{seed}/delays")  # noqa: S311  (replayed, not guessed at)
        self.flips = random.Random(f"{seed}/flips")  # noqa: S311


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What happens to the bytes of one direction; the default lets them pass untouched.

    Attributes:
        delay: seconds to wait before each write; a pair is drawn from evenly, a callable is asked.
            The order of bytes is kept: what comes after a delayed piece waits behind it.
        fragment: the most bytes of one write, at least 1; None writes what was read in one go.
        corrupt: the share of bytes, 0 to 1, in each of which one bit is flipped; or a callable that
            is given what was read from the socket and returns what to send instead.
        cut_after: close a connection after exactly so many bytes of this direction; None never does.
        black_hole: read and forward nothing. The bytes are lost for good; connections stay open.

    Raises:
        ValueError: a number is out of its range.
    """

    delay: Delay = 0.0
    fragment: int | None = None
    corrupt: Corruption = 0.0
    cut_after: int | None = None
    black_hole: bool = False

    def __post_init__(self) -> None:
        if not callable(self.delay):
            low, high = self.delay if isinstance(self.delay, tuple) else (self.delay, self.delay)
            if not 0 <= low <= high:
                raise ValueError(f"delay: expected seconds >= 0, low before high; got {self.delay!r}")
        if self.fragment is not None and self.fragment < 1:
            raise ValueError(f"fragment: expected at least 1 byte, got {self.fragment!r}")
        if not callable(self.corrupt) and not 0 <= self.corrupt <= 1:
            raise ValueError(f"corrupt: expected a share between 0 and 1, got {self.corrupt!r}")
        if self.cut_after is not None and self.cut_after < 0:
            raise ValueError(f"cut_after: expected at least 0 bytes, got {self.cut_after!r}")

    def seconds(self, chance: Chance) -> float:
        """How long the next write waits."""
        if callable(self.delay):
            return self.delay()
        if isinstance(self.delay, tuple):
            return chance.delays.uniform(*self.delay)
        return self.delay

    def pieces(self, data: bytes, chance: Chance) -> Iterator[bytes]:
        """What to send in place of ``data``, one write after the other."""
        if self.black_hole:
            return
        data = self._corrupted(data, chance)
        size = self.fragment or max(len(data), 1)
        for start in range(0, len(data), size):
            yield data[start : start + size]

    def _corrupted(self, data: bytes, chance: Chance) -> bytes:
        if callable(self.corrupt):
            return self.corrupt(data)
        if not self.corrupt:
            return data
        changed = bytearray(data)
        for place in range(len(changed)):
            # One draw a byte, used twice: below the share it is evenly spread over the eight bits.
            drawn = chance.flips.random()
            if drawn < self.corrupt:
                changed[place] ^= 1 << int(drawn / self.corrupt * 8)
        return bytes(changed)
