"""The proxy as processes: one by itself, or several behind one socket."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import uvicorn
from uvicorn.supervisors import Multiprocess

from asynccache._errors import ConfigurationError
from asynccache.server._proxy_options import ENVIRONMENT, ProxyOptions
from asynccache.server._proxy_protocol import ProxyProtocol
from asynccache.server.proxy import ProxyApp

__all__ = ["run"]

_BACKLOG: Final = 2048
_KEEP_ALIVE: Final = 75
"""Seconds; longer than clients and load balancers keep idle connections, so that they close first."""
_LAST_BYTES: Final = 2
"""Seconds that a client who is slow to read gets after the grace."""
_START: Final = 60.0
"""Seconds for a worker to be ready."""
_STARTUP_FAILED: Final = 3  # uvicorn's exit code


def run(
    options: ProxyOptions,
    make: Callable[[ProxyOptions, Callable[[], None]], ProxyApp],
    *,
    worker: str,
    announce: Callable[[str, ProxyApp], None],
) -> int:
    """Serve until told to end by SIGTERM or SIGINT.

    Args:
        options: how.
        make: makes the application, which calls what it is given once it serves.
        worker: ``"module:function"`` that makes the application of a worker, from ``from_environment``.
        announce: called with the address and the application once all workers serve.

    Returns:
        0 when it ended as told, 1 when it could not begin.

    Raises:
        ConfigurationError: an option cannot work.
        OSError: the address cannot be listened at.
    """
    _allow_many_files()
    several = options.workers > 1

    def ready() -> None:
        announce(address, app)

    app = make(options, _nothing if several else ready)
    with _bound(options) as listener:
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if several:
            os.environ[ENVIRONMENT] = options.to_json()
            return _run_several(_config(worker, options), listener, ready)
        return _run_one(_config(app, options), listener)


def _nothing() -> None:
    """Say nothing yet: it is the workers that serve."""


def _run_one(config: uvicorn.Config, listener: socket.socket) -> int:
    # The server raises the signal that ended it once more, for whoever handled it before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except SystemExit as ended:
        return 1 if ended.code else 0
    return 0


def _run_several(config: uvicorn.Config, listener: socket.socket, ready: Callable[[], None]) -> int:
    supervisor = _Supervisor(config, [listener], ready)
    supervisor.run()
    return 1 if any(process.exitcode == _STARTUP_FAILED for process in supervisor.processes) else 0


class _Supervisor(Multiprocess):
    """Says so when all workers serve."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], ready: Callable[[], None]
    ) -> None:
        super().__init__(config, sockets)
        self._ready: Final = ready

    def init_processes(self) -> None:
        super().init_processes()
        if all(process.wait_until_ready(_START, self.should_exit) for process in self.processes):
            self._ready()


def _config(app: ProxyApp | str, options: ProxyOptions) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=options.workers,
        http=ProxyProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_LAST_BYTES,
    )


def _bound(options: ProxyOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listener = socket.create_server((options.host, options.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        where = f"{options.host}:{options.port}"
        raise ConfigurationError(f"cannot listen at {where} ({error.strerror or error})") from error
    listener.setblocking(False)  # noqa: FBT003  (the socket's own signature)
    # asyncio sets it only for sockets that say they are TCP; without it, answers wait for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
