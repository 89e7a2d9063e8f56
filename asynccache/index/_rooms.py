"""The rooms in use, the least recently used first, and their memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asynccache.index._room import Place, Room

__all__ = ["Rooms"]


class Rooms:
    """At most one room for each place. On the event loop only."""

    def __init__(self) -> None:
        self._rooms: OrderedDict[Place, Room] = OrderedDict()
        self._spaces: dict[bytes, int] = {}  # how many rooms each has
        self.bytes = 0
        """Memory of all."""

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[Room]:
        return iter(tuple(self._rooms.values()))

    def get(self, place: Place) -> Room | None:
        """The room of a place; its turn to leave stays where it is."""
        return self._rooms.get(place)

    def use(self, place: Place) -> Room | None:
        """The room of a place, which is the last to leave from now on."""
        room = self._rooms.get(place)
        if room is not None:
            self._rooms.move_to_end(place)
        return room

    def of(self, partition: bytes) -> list[Room]:
        """The rooms of a partition, one for each space."""
        found = (self._rooms.get((partition, space)) for space in self._spaces)
        return [room for room in found if room is not None]

    def add(self, room: Room) -> None:
        """Take a room into use, the only one of its place."""
        self._rooms[room.place] = room
        space = room.place[1]
        self._spaces[space] = self._spaces.get(space, 0) + 1
        self.account(room)

    def remove(self, room: Room) -> bool:
        """Take a room out of use; False when it was not in use."""
        if self._rooms.get(room.place) is not room:
            return False
        del self._rooms[room.place]
        space = room.place[1]
        self._spaces[space] -= 1
        if not self._spaces[space]:
            del self._spaces[space]
        self.bytes -= room.counted
        room.counted = 0
        return True

    def account(self, room: Room) -> None:
        """Count what a room takes now."""
        if self._rooms.get(room.place) is room:
            size = room.nbytes
            self.bytes += size - room.counted
            room.counted = size

    def oldest(self) -> Room | None:
        """Who leaves first: the least recently used that is loaded, never the one used last."""
        rooms = iter(self._rooms.values())
        for _ in range(len(self._rooms) - 1):
            room = next(rooms)
            if room.ready.done():
                return room
        return None
