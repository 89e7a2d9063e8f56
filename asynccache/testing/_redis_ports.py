"""Ports for servers that tests start, and waiting for what the servers say."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from typing import Final

from asynccache.testing._redis_reply import ReplyError

__all__ = ["free_port", "wait_until"]

# A cluster's nodes also listen on port + 10000, which must stay below the ports that systems give to
# outgoing connections (from 32768 on Linux).
_PORTS: Final = range(12_000, 22_000)
_BUS_OFFSET: Final = 10_000
_PROBES: Final = 200


def free_port() -> int:
    """A port that nobody listens on, and neither on the one 10000 higher.

    Raises:
        OSError: none was found.
    """
    for _ in range(_PROBES):
        port = _PORTS.start + secrets.randbelow(len(_PORTS))
        if _is_free(port) and _is_free(port + _BUS_OFFSET):
            return port
    raise OSError(f"no free port found between {_PORTS.start} and {_PORTS.stop - 1}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_until(check: Callable[[], bool], *, what: str, seconds: float) -> None:
    """Ask ``check`` again and again; a server that does not answer counts as no.

    Raises:
        TimeoutError: it was not true within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if check():
                return
            last = ""
        except (OSError, ReplyError) as error:
            last = f" (last error: {error})"
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s{last}")
        time.sleep(0.01)
