"""Real Redis servers for tests: one alone, a cluster, or a master and replica under Sentinels.

They need a redis-server on the PATH and no Python library; every call blocks, so they belong in
fixtures that run outside the event loop.
"""

from __future__ import annotations

from asynccache.testing._redis_cluster import RedisCluster, key_slot, redis_cluster
from asynccache.testing._redis_process import RedisServer
from asynccache.testing._redis_reply import Reply, ReplyError
from asynccache.testing._redis_sentinel import RedisSentinel, redis_sentinel

__all__ = [
    "RedisCluster",
    "RedisSentinel",
    "RedisServer",
    "Reply",
    "ReplyError",
    "key_slot",
    "redis_cluster",
    "redis_sentinel",
]
