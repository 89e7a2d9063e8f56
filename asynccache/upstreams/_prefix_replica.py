"""What a router knows of one replica, and where it stands in a prefix's order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf

__all__ = ["Replica", "mean_work"]


@dataclass(slots=True)
class Replica:
    """State of one replica; changed by its router alone."""

    name: str
    in_flight: int = 0
    work: float = 0.0  # recent work, decayed up to the router's latest instant
    failures: int = 0  # in a row; those of an ejected replica are not counted
    until: float = -inf  # ejected before this instant
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.digest = sha256(self.name.encode()).digest()

    def place(self, key: bytes) -> bytes:
        """Where it stands in the order of a prefix: of several replicas, each is first equally often."""
        return sha256(self.digest + key).digest()


def mean_work(replicas: Iterable[Replica]) -> float:
    """0 of none."""
    works = [replica.work for replica in replicas]
    return sum(works) / len(works) if works else 0.0
