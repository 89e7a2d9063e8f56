"""A prefix cache in blocks, as vLLM keeps one, for requests that come one after the other.

Only full blocks are known again; a block's identity is its tokens, those before it, and the salt, which
stands in the first block. At least one token of a prompt is always computed. Blocks are taken from a list
of free ones, least recently used first, and given back with the end of the prompt first.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["BLOCK", "BLOCKS", "BlockCache", "Counted", "tokens"]

BLOCK: Final = 32  # tokens
BLOCKS: Final = 256  # 8,192 tokens

_PIECE: Final = re.compile(r"<\|\w+\|>| ?[^\W\d_]{1,8}|\d{1,3}|\s+|_+|[^\w\s]{1,2}")

_Chain: TypeAlias = "tuple[Hashable, ...]"


def tokens(text: str) -> list[str]:
    """Pieces of at most eight letters, three digits or two signs, some 4 characters each on average.

    A special token, such as ``<|im_start|>``, is one piece.
    """
    return _PIECE.findall(text)


@dataclass(slots=True)
class Counted:
    """What a cache has done; all figures but ``requests`` in tokens."""

    requests: int = 0
    queried: int = 0
    hit: int = 0
    foreign: int = 0
    """Of ``hit``, computed for another owner."""

    @property
    def prefilled(self) -> int:
        return self.queried - self.hit

    @property
    def hit_rate(self) -> float:
        return self.hit / self.queried if self.queried else 0.0

    def plus(self, other: Counted) -> Counted:
        """Both together."""
        return Counted(
            self.requests + other.requests,
            self.queried + other.queried,
            self.hit + other.hit,
            self.foreign + other.foreign,
        )


class BlockCache:
    """The prefix cache of one replica.

    Args:
        block: tokens of a block.
        blocks: blocks there are; one of them is set aside and never used, as in vLLM.
    """

    def __init__(self, *, block: int = BLOCK, blocks: int = BLOCKS) -> None:
        self._block: Final = block
        # Free blocks, the next to be taken first, each with the identity of what it still holds.
        self._free: Final[OrderedDict[int, int | None]] = OrderedDict.fromkeys(range(1, blocks))
        self._held: Final[dict[int, list[int]]] = {}  # identity: the blocks that hold it, oldest first
        self._owner: Final[dict[int, Hashable]] = {}  # block: for whom it was computed
        self._chains: Final[dict[_Chain, int]] = {}  # (parent, salt, tokens): identity; never forgotten
        self.counted: Final = Counted()

    def ask(
        self, prompt: Sequence[Hashable], *, salt: str | None = None, owner: Hashable = None, made: int = 0
    ) -> int:
        """Serve one request; the number of its tokens that were known.

        Args:
            prompt: its tokens.
            salt: as ``cache_salt``; None for none.
            owner: whose request it is, for counting alone.
            made: tokens of the answer, of which the last is never computed.

        Raises:
            ValueError: the prompt is empty, or has more blocks than there are.
        """
        if not prompt:
            raise ValueError("an empty prompt")
        identities = self._identities(prompt, salt)
        found = self._known(identities[: (len(prompt) - 1) // self._block])
        total = -(-(len(prompt) + max(0, made - 1)) // self._block)
        if total > len(self._free):
            raise ValueError(f"a prompt of {total} blocks, where there are {len(self._free)}")
        self._count(prompt, found, owner)
        for block in found:
            del self._free[block]
        used: list[tuple[int, int | None]] = list(zip(found, identities, strict=False))
        for place in range(len(found), total):
            identity = identities[place] if place < len(identities) else None
            used.append((self._taken(identity, owner), identity))
        self._free.update(reversed(used))
        return len(found) * self._block

    def _identities(self, prompt: Sequence[Hashable], salt: str | None) -> list[int]:
        made: list[int] = []
        for start in range(0, len(prompt) - self._block + 1, self._block):
            parent = made[-1] if made else None
            chain = (parent, None if made else salt, *prompt[start : start + self._block])
            made.append(self._chains.setdefault(chain, len(self._chains)))
        return made

    def _known(self, identities: Sequence[int]) -> list[int]:
        found: list[int] = []
        for identity in identities:
            if identity not in self._held:
                break
            found.append(self._held[identity][0])
        return found

    def _taken(self, identity: int | None, owner: Hashable) -> int:
        """The free block that was used least recently, now holding something else."""
        block, before = self._free.popitem(last=False)
        if before is not None:
            self._held[before].remove(block)
            if not self._held[before]:
                del self._held[before]
        if identity is not None:
            self._held.setdefault(identity, []).append(block)
        self._owner[block] = owner
        return block

    def _count(self, prompt: Sequence[Hashable], found: Sequence[int], owner: Hashable) -> None:
        counted = self.counted
        counted.requests += 1
        counted.queried += len(prompt)
        counted.hit += len(found) * self._block
        counted.foreign += self._block * sum(self._owner[block] != owner for block in found)
