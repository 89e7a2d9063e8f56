"""What is known of how far each shard has come."""

from __future__ import annotations

from typing import Final

__all__ = ["Positions", "as_text"]

_NUMBER: Final = 64
"""Bits of a change's number in a position; above them is its mark."""
LONGEST: Final = 40
"""Bytes of a position as the server writes it."""


class Positions:
    """By shard, the last change a look at the store has told: its number, and a mark no other change has.

    The mark tells histories apart: a server that takes another's place may have missed the last changes, and
    gives their numbers to others.

    Args:
        shards: how many.
    """

    def __init__(self, shards: int) -> None:
        self._known: Final = [0] * shards

    def learn(self, shard: int, told: object, *, anew: bool = False) -> None:
        """Take up a position as the server writes it. What is none teaches nothing.

        Replies may overtake each other, so one that is lower than what is known is passed over: it would be
        right, but void what need not be. With ``anew`` it is taken up: a server that has taken another's
        place may not have come as far.
        """
        if not isinstance(told, bytes) or len(told) > LONGEST:
            return
        number, _, mark = told.partition(b":")
        if not (number.isdigit() and mark.isdigit()):
            return
        if anew or int(number) >= self._known[shard] & ((1 << _NUMBER) - 1):
            self._known[shard] = int(number) + (int(mark) << _NUMBER)

    def of(self, shard: int) -> int:
        """The position of a shard; 0 while nothing is known."""
        return self._known[shard]


def as_text(position: int) -> bytes:
    """A position as the server writes it; only a number when it has no mark, as a generation."""
    number, mark = position & ((1 << _NUMBER) - 1), position >> _NUMBER
    return b"%d:%d" % (number, mark) if mark else b"%d" % number
