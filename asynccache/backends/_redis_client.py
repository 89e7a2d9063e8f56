"""Questions to a store in Redis, by shard: plain commands and scripts, each with its deadline."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from asynccache._errors import BackendUnavailable
from asynccache.backends._redis_op import Op

if TYPE_CHECKING:
    from asynccache.backends._redis_lua import Script
    from asynccache.backends._redis_names import Names, Shard
    from asynccache.backends._redis_topology import Topology

__all__ = ["Client"]

NOT_OPEN: Final = "the redis backend is not open; use it within its lifespan"


class Client:
    """Asks the server that has a shard.

    Args:
        names: of the store.
        topology: knows the servers.
        within: seconds that a question may take.
        change_within: seconds that a change may take, which may have to wait for others before it.
    """

    def __init__(self, names: Names, topology: Topology, *, within: float, change_within: float) -> None:
        self.names: Final = names
        self.topology: Final = topology
        self.within: Final = within
        self._change_within: Final = change_within
        self._nonces: Final = count(secrets.randbits(62))
        self.open = False

    def check_open(self) -> None:
        """Raise BackendUnavailable unless open."""
        if not self.open:
            raise BackendUnavailable(NOT_OPEN)

    def healthy(self, key: bytes) -> bool:
        """Whether the server of a key answers, as far as is known."""
        if not self.open:
            return False
        try:
            return not self.topology.node(self.names.of(key).number).breaker.open
        except BackendUnavailable:
            return False

    @asynccontextmanager
    async def deadline(self) -> AsyncIterator[None]:
        """Let all that is waited for take together as long as one question may."""
        try:
            async with asyncio.timeout(self.within):
                yield
        except TimeoutError:
            raise BackendUnavailable(f"redis did not answer within {self.within:g} seconds") from None

    def ask(
        self, shard: Shard, *command: Any, fits: Callable[[Any], bool], now: bool = False
    ) -> asyncio.Future[Any]:
        """The reply to a command that changes nothing."""
        op = Op(command, fits=fits, within=self.within, shard=shard.number, now=now)
        return self._submit(op)

    def run(self, script: Script, shard: Shard, *arguments: Any, once: bool = False) -> asyncio.Future[Any]:
        """The reply to a script that changes nothing, or nothing whose order matters; ``once`` as below."""
        return self._run(script, shard, arguments, ordered=False, once=once)

    def change(
        self, script: Script, shard: Shard, *arguments: Any, once: bool = False
    ) -> asyncio.Future[Any]:
        """The reply to a script that changes something: after all changes asked for before.

        With ``once``, it is not sent again when the connection breaks.
        """
        return self._run(script, shard, arguments, ordered=True, once=once)

    def _run(
        self, script: Script, shard: Shard, arguments: tuple[Any, ...], *, ordered: bool, once: bool = False
    ) -> asyncio.Future[Any]:
        nonce = b"%d" % next(self._nonces)
        op = Op(
            (b"1", shard.sequence, nonce, shard.base, *arguments),
            fits=lambda reply: isinstance(reply, list) and bool(reply) and reply[0] == nonce,
            within=self._change_within if ordered else self.within,
            shard=shard.number,
            ordered=ordered,
            once=once,
            script=script,
        )
        return self._submit(op)

    def _submit(self, op: Op) -> asyncio.Future[Any]:
        if not self.open:
            op.fail(BackendUnavailable(NOT_OPEN))
            return op.future
        try:
            node = self.topology.node(op.shard)
        except BackendUnavailable as error:
            op.fail(error)
        else:
            node.submit(op)
        return op.future
