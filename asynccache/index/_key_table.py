"""Keys to numbered places and back, in some 250 bytes a key."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["KeyTable"]

_KEY: Final = 32  # bytes
_VACANT: Final = math.nan  # as an expiry: no comparison with it is true, so a vacant place is never found
_BLANK: Final = bytes(_KEY)
_SPARSE: Final = 400  # bytes of the dict for each key: one that has only grown has 50 to 110
_PYTHON_BYTES: Final = 80 + 32  # of a 32-byte key and of an integer, as objects


class KeyTable:
    """Which key has which place, and when it expires.

    Places are numbered 0, 1, 2 … in the order in which they are given. A key has one place at most. The
    tables are flat, so that the garbage collector has nothing to walk through.
    """

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._keys = bytearray()  # of place p: from 32 p on
        self._expiries = array("d")  # of place p; NaN where the place is vacant

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[bytes]:
        """Every key, the one that came first first."""
        return iter(self._places)

    @property
    def used(self) -> int:
        """Places given so far, vacant ones included: the number of the next."""
        return len(self._expiries)

    @property
    def nbytes(self) -> int:
        """Memory held, about."""
        return (
            sys.getsizeof(self._places)
            + len(self._places) * _PYTHON_BYTES
            + len(self._keys)
            + len(self._expiries) * self._expiries.itemsize
        )

    def place(self, key: bytes) -> int | None:
        """Where a key is."""
        return self._places.get(key)

    def key(self, place: int) -> bytes:
        """Which key is at an occupied place."""
        return bytes(self._keys[_KEY * place : _KEY * (place + 1)])

    def expires_at(self, place: int) -> float:
        """When the key there expires, in seconds since the epoch; NaN for a vacant place."""
        return self._expiries[place]

    def expiries(self, first: int = 0, last: int | None = None) -> NDArray[np.float64]:
        """A view of the expiries of places ``first`` to ``last``. Let go of it before the table changes."""
        last = len(self._expiries) if last is None else min(last, len(self._expiries))
        if first >= last:
            return np.empty(0)
        return np.frombuffer(self._expiries, dtype=np.float64)[first:last]

    def expired(self, now: float, limit: int) -> list[bytes]:
        """Keys whose time is over, at most so many."""
        return [self.key(place) for place in np.flatnonzero(self.expiries() <= now)[:limit].tolist()]

    def append(self, key: bytes, expires_at: float) -> int:
        """Give the next place to a key that has none."""
        place = len(self._expiries)
        self._places[key] = place
        self._keys += key
        self._expiries.append(expires_at)
        return place

    def skip(self, count: int) -> None:
        """Leave the next places vacant for ever."""
        self._keys += _BLANK * count
        self._expiries.extend([_VACANT] * count)

    def renew(self, key: bytes, expires_at: float) -> None:
        """Change when a key expires."""
        self._expiries[self._places[key]] = expires_at

    def vacate(self, key: bytes) -> int | None:
        """Let go of a key; its place stays vacant. None when it has no place."""
        place = self._places.pop(key, None)
        if place is not None:
            self._keys[_KEY * place : _KEY * (place + 1)] = _BLANK
            self._expiries[place] = _VACANT
            self._thin_out()
        return place

    def pull_up(self, key: bytes) -> tuple[int, int] | None:
        """Let go of a key; the key of the last place takes its place: (that place, the one now gone).

        For tables without vacant places. None when the key has no place.
        """
        place = self._places.pop(key, None)
        if place is None:
            return None
        last = len(self._expiries) - 1
        if place != last:
            moved = self.key(last)
            self._places[moved] = place
            self._keys[_KEY * place : _KEY * (place + 1)] = moved
            self._expiries[place] = self._expiries[last]
        del self._keys[_KEY * last :]
        self._expiries.pop()
        self._thin_out()
        return place, last

    def _thin_out(self) -> None:
        # A dict never shrinks by itself. What this costs the removals before have paid for.
        if sys.getsizeof(self._places) > _SPARSE * (len(self._places) + 1):
            self._places = dict(self._places)

    def dump(self) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.float64]]:
        """Occupied places in rising order, and the key, shape (n, 32), and expiry of each."""
        expiries = self.expiries()
        places = np.flatnonzero(~np.isnan(expiries))
        keys = np.frombuffer(self._keys, dtype=np.uint8).reshape(-1, _KEY)[places]
        return places.astype(np.int64), keys, expiries[places]

    @classmethod
    def restored(
        cls, used: int, places: NDArray[np.int64], keys: NDArray[np.uint8], expiries: NDArray[np.float64]
    ) -> KeyTable:
        """The table that was dumped.

        Raises:
            ValueError: the parts do not fit together.
        """
        count = len(places)
        fit = places.shape == expiries.shape == (count,) and keys.shape == (count, _KEY)
        rising = count == 0 or bool((places[0] >= 0) & (places[-1] < used) & (np.diff(places) > 0).all())
        if not (fit and rising and bool((expiries > -math.inf).all())):
            raise ValueError("the table of keys does not fit together")
        table = cls()
        table.skip(used)
        np.frombuffer(table._keys, dtype=np.uint8).reshape(-1, _KEY)[places] = keys
        np.frombuffer(table._expiries, dtype=np.float64)[places] = expiries
        # A loop of Python, not one call: other threads get their turn in it.
        for place in places.tolist():
            table._places[table.key(place)] = place
        if len(table) != count:
            raise ValueError("the table of keys holds a key twice")
        return table
