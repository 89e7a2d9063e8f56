"""A Redis master, its replica and three Sentinels that watch over them, on the loopback interface."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

from asynccache.testing._redis_ports import wait_until
from asynccache.testing._redis_process import RedisServer
from asynccache.testing._redis_reply import ReplyError

__all__ = ["RedisSentinel", "redis_sentinel"]

NAME: Final = "mymaster"
_SECONDS: Final = 30.0
_ASK_SECONDS: Final = 0.5  # how long a server that may be paused is waited for


class RedisSentinel:
    """The servers of a running trio of Sentinels.

    Args:
        servers: the first master and its replica.
        sentinels: the three that watch them.
    """

    def __init__(self, servers: Sequence[RedisServer], sentinels: Sequence[RedisServer]) -> None:
        self.servers = tuple(servers)
        self.sentinels = tuple(sentinels)

    @property
    def url(self) -> str:
        """``redis+sentinel://`` with the addresses of the Sentinels and the name they know."""
        addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{addresses}/{NAME}"

    def master(self) -> RedisServer:
        """The server that most Sentinels name now, even if it is down.

        Raises:
            LookupError: no Sentinel answers.
        """
        votes: Counter[int] = Counter()
        for sentinel in self.sentinels:
            if sentinel.running:
                try:
                    reply = sentinel.command(
                        "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME, seconds=_ASK_SECONDS
                    )
                except (OSError, ReplyError):
                    continue
                if isinstance(reply, list) and isinstance(port := reply[1], bytes):
                    votes[int(port)] += 1
        if not votes:
            raise LookupError("no Sentinel answers")
        port, _ = votes.most_common(1)[0]
        return next(server for server in self.servers if server.port == port)


def _is_in_step(replica: RedisServer) -> bool:
    info = replica.command("INFO", "replication", seconds=_ASK_SECONDS)
    return isinstance(info, bytes) and b"master_link_status:up" in info


def _is_ready(sentinel: RedisServer, others: int) -> bool:
    """Whether it knows the replica and the other Sentinels, and enough of them answer."""
    for what, number in (("REPLICAS", 1), ("SENTINELS", others)):
        known = sentinel.command("SENTINEL", what, NAME, seconds=_ASK_SECONDS)
        if not isinstance(known, list) or len(known) != number:
            return False
    verdict = sentinel.command("SENTINEL", "CKQUORUM", NAME, seconds=_ASK_SECONDS)
    return isinstance(verdict, str) and verdict.startswith(f"OK {others + 1} ")


@contextmanager
def redis_sentinel(
    folder: str | os.PathLike[str] | None = None,
    *,
    down_after: float = 1.0,
    failover_timeout: float = 3.0,
    config: Sequence[str] = (),
    executable: str = "redis-server",
) -> Iterator[RedisSentinel]:
    """Start master, replica and three Sentinels, wait until they can fail over; stop them at the end.

    Args:
        folder: where the servers keep their files; None is a temporary one.
        down_after: seconds after which a Sentinel takes a silent server for down.
        failover_timeout: seconds of Sentinel's ``failover-timeout``.
        config: further lines of the configuration of master and replica.
        executable: the server's name or path.

    Raises:
        FileNotFoundError: there is no such executable.
        TimeoutError: the servers did not come up.
    """
    with ExitStack() as stack:
        master = stack.enter_context(RedisServer(folder, config=config, executable=executable))
        follow = (f"replicaof 127.0.0.1 {master.port}", *config)
        replica = stack.enter_context(RedisServer(folder, config=follow, executable=executable))
        # Before the Sentinels start: they ask the master for its replicas once, then after ten seconds.
        wait_until(partial(_is_in_step, replica), what=f"replication to {replica}", seconds=_SECONDS)
        watch = (
            f"sentinel monitor {NAME} 127.0.0.1 {master.port} 2",
            f"sentinel down-after-milliseconds {NAME} {round(down_after * 1000)}",
            f"sentinel failover-timeout {NAME} {round(failover_timeout * 1000)}",
            f"sentinel parallel-syncs {NAME} 1",
        )
        sentinels = [
            stack.enter_context(
                RedisServer(folder, config=watch, arguments=("--sentinel",), executable=executable)
            )
            for _ in range(3)
        ]
        for sentinel in sentinels:
            wait_until(
                partial(_is_ready, sentinel, len(sentinels) - 1),
                what=f"readiness of the Sentinel {sentinel}",
                seconds=_SECONDS,
            )
        yield RedisSentinel((master, replica), sentinels)
