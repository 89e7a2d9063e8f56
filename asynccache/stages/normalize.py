"""Give a request its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asynccache._keys import Keyring

if TYPE_CHECKING:
    from asynccache._models import Exchange

__all__ = ["Normalize"]


class Normalize:
    """Check the body at the door and fill in key, partition and question. The body stays as sent.

    Args:
        max_request_bytes: largest body accepted, in bytes of JSON; default 16 MiB.
    """

    def __init__(self, *, max_request_bytes: int = 16 * 2**20) -> None:
        self.keyring = Keyring(max_request_bytes=max_request_bytes)

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        found = self.keyring.fingerprint(exchange.request)
        asking = exchange.asking(exchange.request.identified(found.key, found.partition, found.question))
        return asking if found.uncacheable is None else asking.bypassing(found.uncacheable)
