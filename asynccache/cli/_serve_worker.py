"""The application that ``asynccache serve`` runs, and its lines on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import structlog

from asynccache._errors import AsyncCacheError
from asynccache.instrumentation.structlog import log_events, log_failures
from asynccache.server._proxy_options import ProxyOptions
from asynccache.server.proxy import ProxyApp

__all__ = ["application", "made"]

_EVENTS: Final = {"request": "asynccache_request_failed", "server": "asynccache_server_failed"}
_STARTUP_FAILED: Final = 3  # uvicorn's own word for it
_INFO: Final = 20  # as the logging module counts


def application() -> ProxyApp:
    """That of a worker. Where its options cannot work any more, the worker ends, and is not started again."""
    try:
        return made(ProxyOptions.from_environment())
    except AsyncCacheError as error:
        _logger().error(_EVENTS["server"], error=type(error).__name__, problem=str(error))
        sys.exit(_STARTUP_FAILED)


def made(options: ProxyOptions, ready: Callable[[], None] | None = None) -> ProxyApp:
    """An application that logs, and drains on signals.

    Args:
        options: how to serve.
        ready: called once it serves.

    Raises:
        ConfigurationError: an option cannot work.
    """
    log = _logger()
    hook = log_events(log) if options.log == "requests" else log_failures(log)

    def report(what: str, error: Exception) -> None:
        words = {"problem": str(error)} if isinstance(error, AsyncCacheError) else {}
        log.error(_EVENTS[what], error=type(error).__name__, **words)

    return ProxyApp(options, hooks=(hook,), report=report, signals=True, ready=ready)


def _logger() -> Any:
    """One JSON object a line: never a body, a key or a tenant."""
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_INFO),
    )
