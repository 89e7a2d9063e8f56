"""Redis servers of each kind with a fault proxy in front of every one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from asynccache.testing.fault_proxy import FaultProxy
from asynccache.testing.redis_servers import RedisCluster, RedisSentinel, RedisServer


class Place(NamedTuple):
    """Servers with a proxy in front of each."""

    options: dict[str, Any]
    """Of a ``RedisBackend``."""
    servers: tuple[RedisServer, ...]
    proxies: tuple[FaultProxy, ...]
    shards: int


@asynccontextmanager
async def proxied(where: RedisServer | RedisSentinel | RedisCluster, seed: int) -> AsyncIterator[Place]:
    """A proxy in front of every server."""
    servers: tuple[RedisServer, ...]
    named: tuple[RedisServer, ...]
    options: dict[str, Any] = {}
    if isinstance(where, RedisServer):
        servers, named = (where,), (where,)
    elif isinstance(where, RedisSentinel):
        servers, named = (*where.servers, *where.sentinels), where.sentinels
        options["sentinel"] = "mymaster"
    else:
        servers, named = where.nodes, where.nodes
        options["cluster"] = True
    async with AsyncExitStack() as stack:
        proxies = [
            await stack.enter_async_context(FaultProxy("127.0.0.1", server.port, seed=seed + at))
            for at, server in enumerate(servers)
        ]
        places = {server.port: proxy.port for server, proxy in zip(servers, proxies, strict=True)}

        def remap(address: tuple[str, int]) -> tuple[str, int]:
            return "127.0.0.1", places[address[1]]

        addresses = [("127.0.0.1", server.port) for server in named]
        if isinstance(where, RedisServer):  # whose address nobody names
            addresses = [remap(address) for address in addresses]
        options |= {"nodes": addresses, "address_remap": remap}
        yield Place(options, servers, tuple(proxies), 16 if "cluster" in options else 1)
