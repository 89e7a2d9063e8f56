"""Which server has which shard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from redis import exceptions as redis_errors
from redis.crc import key_slot

from asynccache._errors import BackendUnavailable
from asynccache._lifespan import Nursery
from asynccache.backends._redis_connect import Address, Dialing, MasterByName
from asynccache.backends._redis_node import Node
from asynccache.backends._redis_op import Op

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from asynccache.backends._redis_names import Names

__all__ = ["Cluster", "Single", "Topology"]

AGAIN: Final = 0.3
"""Seconds between two tries to learn which node of a cluster has what."""
PATIENCE: Final = 1.0
"""Seconds one node may take to tell."""
WATCH: Final = 1.0
"""Seconds between two looks at who the master is."""


class Topology(Protocol):
    """Finds the server of a shard."""

    def node(self, shard: int) -> Node:
        """The server to ask. Raises BackendUnavailable when it is not known."""
        ...

    def nodes(self) -> Sequence[Node]:
        """All there are."""
        ...

    async def connect(self, *, protocol: int) -> AbstractConnection:
        """A connection of one's own, to a server that hears every announcement."""
        ...

    async def start(self) -> None:
        """Get to know the servers, if that can be done soon. One that cannot be reached is no error."""
        ...

    async def close(self) -> None:
        """Drop every connection. Call it when nothing runs in the nursery any more."""
        ...


class Single:
    """One server for all shards: at an address, or the one that sentinels name.

    Args:
        dialing: how connections are made.
        address: of the server.
        master: in its place, who names it.
        nursery: where the work is done.
    """

    def __init__(
        self,
        dialing: Dialing,
        *,
        address: Address | None = None,
        master: MasterByName | None = None,
        nursery: Nursery,
    ) -> None:
        self._dialing: Final = dialing
        self._address: Final = address
        self._master: Final = master
        self._nursery: Final = nursery
        self._node: Final = Node(
            "the master" if address is None else _name(address),
            partial(self.connect, protocol=3),
            nursery=nursery,
            astray=lambda op, error: op.fail(error),
            failing=lambda: None,
        )

    def node(self, shard: int) -> Node:  # noqa: ARG002  (the same for all)
        """The one there is."""
        return self._node

    def nodes(self) -> Sequence[Node]:
        """The one there is."""
        return [self._node]

    async def connect(self, *, protocol: int) -> AbstractConnection:
        """A connection to it."""
        if self._master is not None:
            return await self._master.connect(protocol=protocol)
        assert self._address is not None  # noqa: S101  (one of both is given)
        return await self._dialing.connect(self._address, protocol=protocol)

    async def start(self) -> None:
        """Keep an eye on who the master is, if sentinels say so: a former one may answer for a while."""
        if self._master is not None:
            master = self._master
            self._nursery.start(lambda: self._watch(master))

    async def _watch(self, master: MasterByName) -> None:
        known: Address | None = None
        while True:
            with suppress(BackendUnavailable):
                named = await master.address()
                if known not in {None, named}:
                    self._node.renew()
                known = named
            await asyncio.sleep(WATCH)

    async def close(self) -> None:
        """Drop every connection."""
        self._node.close()


class Cluster:
    """The nodes of a cluster, and which of them has which shard.

    Args:
        seeds: addresses to ask first.
        names: of the shards.
        dialing: how connections are made.
        nursery: where the work is done.
    """

    def __init__(self, seeds: Sequence[Address], names: Names, dialing: Dialing, *, nursery: Nursery) -> None:
        self._seeds: Final = tuple(seeds)
        self._slots: Final = [key_slot(shard.sequence) for shard in names.shards]
        self._dialing: Final = dialing
        self._nursery: Final = nursery
        self._places: list[Address | None] = [None] * len(self._slots)  # as servers name them
        self._nodes: Final[dict[Address, Node]] = {}
        self._learning: asyncio.Task[None] | None = None

    def node(self, shard: int) -> Node:
        """The node that has the shard, as far as it is known."""
        place = self._places[shard]
        if place is None:
            self._learn()
            raise BackendUnavailable("no node of the redis cluster has told yet which of them has what")
        return self._at(place)

    def nodes(self) -> Sequence[Node]:
        """Those that have shards, or had."""
        return list(self._nodes.values())

    async def connect(self, *, protocol: int) -> AbstractConnection:
        """A connection to any node that can be reached."""
        trouble: Exception = BackendUnavailable("no node of the redis cluster can be reached")
        for place in self._candidates():
            try:
                return await self._dialing.connect(self._dialing.where(place), protocol=protocol)
            except Exception as error:  # noqa: BLE001  (a border: the next may be there)
                trouble = error
        raise trouble

    async def start(self) -> None:
        """Learn who has what, if it can be learnt soon."""
        self._learn()
        if self._learning is not None:
            await asyncio.wait([self._learning], timeout=PATIENCE)

    async def close(self) -> None:
        """Drop every connection, and forget who has what."""
        for node in self._nodes.values():
            node.close()
        self._nodes.clear()
        self._places = [None] * len(self._slots)

    def _at(self, place: Address) -> Node:
        node = self._nodes.get(place)
        if node is None:

            async def connect() -> AbstractConnection:
                return await self._dialing.connect(self._dialing.where(place))

            node = self._nodes[place] = Node(
                _name(place),
                connect,
                nursery=self._nursery,
                astray=self._astray,
                failing=self._learn,
            )
        return node

    def _astray(self, op: Op, error: redis_errors.ResponseError) -> None:
        if isinstance(error, redis_errors.MovedError):
            self._places[op.shard] = (error.host or "", error.port)
            self._learn()
            # Changes are not sent after the shard: what was asked for later may have arrived before them.
            if not op.tried and error.host and not op.ordered:
                op.tried = True
                self._at((error.host, error.port)).submit(op)
                return
        elif isinstance(error, redis_errors.ClusterDownError | redis_errors.ReadOnlyError):
            self._learn()
        op.fail(error)

    def _candidates(self) -> list[Address]:
        """Where to ask: those that answer before those that do not."""
        known = sorted(self._nodes, key=lambda place: self._nodes[place].breaker.open)
        return list(dict.fromkeys((*known, *self._seeds)))

    def _learn(self) -> None:
        if self._learning is None:
            self._learning = self._nursery.start(self._until_learnt)

    async def _until_learnt(self) -> None:
        try:
            while not await self._learnt():  # noqa: ASYNC110  (servers set no event)
                await asyncio.sleep(AGAIN)
        finally:
            self._learning = None

    async def _learnt(self) -> bool:
        """Ask the nodes; whether every shard has one now that does not fail."""
        for place in self._candidates():
            try:
                async with asyncio.timeout(PATIENCE):
                    slots = await self._ask(place)
            except Exception:  # noqa: BLE001, S112  (a border: the next may know)
                continue
            for shard, slot in enumerate(self._slots):
                for first, last, (host, port, *_), *_ in slots:
                    if first <= slot <= last:
                        named = host.decode() if isinstance(host, bytes) else host
                        self._places[shard] = (named or place[0], port)
            for left in [each for each in self._nodes if each not in self._places]:
                self._nodes.pop(left).close()
            return all(each is not None and not self._at(each).breaker.open for each in self._places)
        return False

    async def _ask(self, place: Address) -> list[Any]:
        connection = await self._dialing.connect(self._dialing.where(place))
        try:
            await connection.send_command("CLUSTER", "SLOTS")
            reply: Any = await connection.read_response()
            return list(reply)
        finally:
            await connection.disconnect(nowait=True)


def _name(address: Address) -> str:
    host, port = address
    return f"{host}:{port}"
