"""Leave to fill the memory in front of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asynccache._models import Entry

__all__ = ["Claim"]


class Claim:
    """Leave to fill the front with what the back is about to say of a key, or with what is written to it.

    Args:
        writing: the entry being written; None for a read.
    """

    __slots__ = ("kept", "told", "writing")

    def __init__(self, writing: Entry | None = None) -> None:
        self.writing: Final = writing
        self.told: int | None = None
        """The largest number that the back's feed has told of the key meanwhile; None for none."""
        self.kept: Entry | None = None
        """What the front holds while it is not known yet whether the back has stored it."""

    def tell(self, number: int) -> None:
        """The back's feed has told of a change."""
        if self.told is None or self.told < number:
            self.told = number

    def allows(self, generation: int | None) -> bool:
        """Whether what has that generation is known not to be older than what was told."""
        return generation is not None and (self.told is None or generation >= self.told)
