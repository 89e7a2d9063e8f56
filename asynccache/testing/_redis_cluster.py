"""A Redis Cluster of real servers on the loopback interface."""

from __future__ import annotations

import binascii
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import combinations
from typing import Final

from asynccache.testing._redis_ports import wait_until
from asynccache.testing._redis_process import RedisServer
from asynccache.testing._redis_reply import ReplyError

__all__ = ["RedisCluster", "key_slot", "redis_cluster"]

SLOTS: Final = 16384
_SECONDS: Final = 30.0
_ASK_SECONDS: Final = 0.5  # how long a node that may be paused is waited for


def key_slot(key: str | bytes) -> int:
    """The slot of a key: CRC16 of it, or of its hash tag if it has one (Redis Cluster specification)."""
    data = key if isinstance(key, bytes) else key.encode()
    _, brace, rest = data.partition(b"{")
    tag, end, _ = rest.partition(b"}")
    return binascii.crc_hqx(tag if brace and end and tag else data, 0) % SLOTS


class RedisCluster:
    """The servers of a running cluster.

    Args:
        nodes: all servers, first the masters in the order of their slots, then the replicas.
        masters: how many of them began as masters.
    """

    def __init__(self, nodes: Sequence[RedisServer], *, masters: int) -> None:
        self.nodes = tuple(nodes)
        self._masters = masters

    @property
    def url(self) -> str:
        """``redis+cluster://`` with the addresses of the first masters."""
        addresses = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[: self._masters])
        return f"redis+cluster://{addresses}"

    def master_of(self, where: int | str | bytes) -> RedisServer:
        """The server that the cluster takes for the master of a slot (int) or key now, even if it is down.

        Raises:
            LookupError: no node that answers knows one.
        """
        slot = where if isinstance(where, int) else key_slot(where)
        claims: list[tuple[int, int]] = []
        for node in self.nodes:
            if node.running:
                try:
                    claims += _claims(node, slot)
                except (OSError, ReplyError):
                    continue
        if not claims:
            raise LookupError(f"no node of the cluster knows a master of slot {slot}")
        _, port = max(claims)  # the later configuration epoch has the say
        return next(node for node in self.nodes if node.port == port)

    def wait_ok(self, seconds: float = _SECONDS) -> None:
        """Wait until every running node finds the cluster able to serve all slots."""
        for node in self.nodes:
            if node.running:
                ok = partial(_says, node, "cluster_state:ok\r", "CLUSTER", "INFO")
                wait_until(ok, what=f"cluster_state:ok of {node}", seconds=seconds)


def _text(node: RedisServer, *words: str) -> str:
    reply = node.command(*words, seconds=_ASK_SECONDS)
    return reply.decode() if isinstance(reply, bytes) else ""


def _claims(node: RedisServer, slot: int) -> Iterator[tuple[int, int]]:
    """Epoch and port of each master that this node believes to own the slot."""
    for line in _text(node, "CLUSTER", "NODES").splitlines():
        # id, address, flags, master, ping, pong, epoch, link, then the slots
        _, address, flags, _, _, _, epoch, _, *ranges = line.split()
        if "master" in flags.split(","):
            for owned in ranges:
                low, _, high = owned.partition("-")
                if not owned.startswith("[") and int(low) <= slot <= int(high or low):
                    yield int(epoch), int(address.partition("@")[0].rpartition(":")[2])


def _says(node: RedisServer, line: str, *words: str) -> bool:
    return line in _text(node, *words)


@contextmanager
def redis_cluster(
    folder: str | os.PathLike[str] | None = None,
    *,
    masters: int = 3,
    replicas: int = 0,
    node_timeout: float = 2.0,
    config: Sequence[str] = (),
    executable: str = "redis-server",
) -> Iterator[RedisCluster]:
    """Start a cluster, wait until it serves all slots, and stop it when the context is left.

    Args:
        folder: where the servers keep their files; None is a temporary one.
        masters: servers that share the slots evenly; at least 3 for a failover to be voted.
        replicas: replicas of each master; those are waited for until they are in step.
        node_timeout: seconds after which a silent node counts as failing.
        config: further lines of every server's configuration.
        executable: the server's name or path.

    Raises:
        FileNotFoundError: there is no such executable.
        TimeoutError: the cluster did not come up.
    """
    lines = (
        "cluster-enabled yes",
        f"cluster-node-timeout {round(node_timeout * 1000)}",
        *config,
    )
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(RedisServer(folder, config=lines, executable=executable))
            for _ in range(masters * (1 + replicas))
        ]
        for epoch, node in enumerate(nodes, 1):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", epoch)  # refused once a node knows another
        for number, node in enumerate(nodes[:masters]):
            low, high = SLOTS * number // masters, SLOTS * (number + 1) // masters - 1
            node.command("CLUSTER", "ADDSLOTSRANGE", low, high)
        for one, other in combinations(nodes, 2):  # quicker than hearing of each other from the first
            one.command("CLUSTER", "MEET", "127.0.0.1", other.port)
        for number, node in enumerate(nodes[masters:]):
            _attach(node, nodes[number % masters])
        cluster = RedisCluster(nodes, masters=masters)
        for node in nodes:
            wait_until(
                partial(_says, node, f"cluster_known_nodes:{len(nodes)}\r", "CLUSTER", "INFO"),
                what=f"acquaintance of {node} with all nodes",
                seconds=_SECONDS,
            )
        cluster.wait_ok()
        for node in nodes[masters:]:
            wait_until(
                partial(_says, node, "master_link_status:up\r", "INFO", "replication"),
                what=f"replication to {node}",
                seconds=_SECONDS,
            )
        yield cluster


def _attach(replica: RedisServer, master: RedisServer) -> None:
    name = _text(master, "CLUSTER", "MYID")

    def attached() -> bool:
        # Refused until the replica has heard of its master.
        return replica.command("CLUSTER", "REPLICATE", name) == "OK"

    wait_until(attached, what=f"{replica} becoming a replica of {master}", seconds=_SECONDS)
