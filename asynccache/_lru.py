"""A map that forgets what was used least recently. Pure: no clock, no I/O, nothing awaited."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

__all__ = ["LRU"]

K = TypeVar("K")
V = TypeVar("V")


class LRU(Generic[K, V]):
    """Items with a weight and an expiry instant, within a budget of items and one of weight.

    An item has expired from its instant on. It is dropped when somebody asks for it, or when its turn
    in the order of use comes, whichever is first.

    Args:
        max_items: items held at most, 1 or more.
        max_weight: sum of weights held at most; any unit.
        on_drop: called with key and value of every item that leaves, however it leaves.
    """

    def __init__(
        self, *, max_items: int, max_weight: int, on_drop: Callable[[K, V], None] | None = None
    ) -> None:
        # Least recently used first. A plain tuple is the cheapest thing to read in get().
        self._items: OrderedDict[K, tuple[V, float, int]] = OrderedDict()
        self._max_items = max_items
        self._max_weight = max_weight
        self._on_drop = on_drop
        self.weight = 0
        """Sum of the weights held."""
        self.hits = 0
        self.misses = 0
        """Includes the items found expired."""
        self.evictions = 0
        """Live or expired items dropped for want of room."""
        self.expired = 0
        """Items dropped because somebody asked for them after their instant."""

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K, now: float) -> V | None:
        """The live value, which becomes the most recently used one, or None."""
        item = self._items.get(key)
        if item is None:
            self.misses += 1
            return None
        if now >= item[1]:
            self.misses += 1
            self.expired += 1
            self._drop(key)
            return None
        self.hits += 1
        self._items.move_to_end(key)
        return item[0]

    def hit(self, key: K, now: float) -> V | None:
        """As ``get``, but finding nothing counts as nothing: for a look before the real one."""
        item = self._items.get(key)
        if item is None or now >= item[1]:
            return None
        self.hits += 1
        self._items.move_to_end(key)
        return item[0]

    def peek(self, key: K, now: float) -> V | None:
        """The live value or None, with no effect on order, counters or contents."""
        item = self._items.get(key)
        return None if item is None or now >= item[1] else item[0]

    def put(self, key: K, value: V, *, weight: int, until: float, now: float) -> bool:
        """Hold a value, in place of any other under its key.

        Args:
            key: any hashable value.
            value: anything but None.
            weight: its share of ``max_weight``, 0 or more.
            until: the instant from which it has expired.
            now: the present instant.

        Returns:
            Whether it is held: False when it has expired already, or outweighs the whole budget. The
            older value under its key is gone then as well.
        """
        if key in self._items:
            self._drop(key)
        if now >= until or weight > self._max_weight:
            return False
        while self._items and (
            len(self._items) >= self._max_items or self.weight + weight > self._max_weight
        ):
            self.evictions += 1
            self._drop(next(iter(self._items)))
        self._items[key] = (value, until, weight)
        self.weight += weight
        return True

    def pop(self, key: K, now: float) -> V | None:
        """Drop an item; its value if it was live, else None."""
        value = self.peek(key, now)
        if key in self._items:
            self._drop(key)
        return value

    def clear(self, now: float) -> int:
        """Drop everything; the number of items that were live."""
        live = sum(now < until for _, until, _ in self._items.values())
        items, self._items = self._items, OrderedDict()
        self.weight = 0
        if self._on_drop is not None:
            for key, (value, _, _) in items.items():
                self._on_drop(key, value)
        return live

    def values(self, now: float) -> Iterator[V]:
        """The live values, least recently used first. Nothing may be put or dropped meanwhile."""
        return (value for value, until, _ in self._items.values() if now < until)

    def _drop(self, key: K) -> None:
        value, _, weight = self._items.pop(key)
        self.weight -= weight
        if self._on_drop is not None:
            self._on_drop(key, value)
