"""Give a request its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from anyio import CapacityLimiter, to_thread

from asynccache._keys import Keyring, to_json

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import History

__all__ = ["Normalize"]


class Normalize:
    """Check the body at the door; fill in key, partition and question, and a copy of the body as sent.

    Args:
        max_request_bytes: largest body accepted, in bytes of JSON; default 16 MiB.
        origin: part of every key, beside the scope: whose answers these are, in a store that strangers
            share; default None.
        history: what of a conversation must be equal for a semantic hit: ``"equal"``, all of it (the
            default); ``"last:n"``, the instructions and the last n messages before the question, n from 1
            to 9999; ``"ignore"``, the instructions alone. An exact hit has all of it equal in any case.

    Raises:
        ConfigurationError: there is no such history.
    """

    def __init__(
        self,
        *,
        max_request_bytes: int = 16 * 2**20,
        origin: str | None = None,
        history: History | str = "equal",
    ) -> None:
        self.keyring = Keyring(max_request_bytes=max_request_bytes, origin=origin, history=history)
        # Of its own: all of the default limiter's threads may be waiting for this very answer.
        self._threads = CapacityLimiter(2)

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        # No await between key and copy: what is asked upstream is what was keyed, whatever the caller
        # does with its lists meanwhile.
        request = exchange.request
        large = self.keyring.defer(request)
        body = orjson.loads(to_json(request.body))
        if large is None:
            found = self.keyring.fingerprint(request)
        else:
            found = await to_thread.run_sync(large, limiter=self._threads)
        asking = exchange.asking(request.identified(found.key, found.partition, found.question, body))
        return asking if found.uncacheable is None else asking.bypassing(found.uncacheable)
