"""What can be written after ``asynccache serve``."""

from __future__ import annotations

import argparse
import math
from typing import Final

from asynccache._errors import ConfigurationError
from asynccache._url import BackendURL
from asynccache.cli._argument_types import cosine, count, error_share

__all__ = ["DESCRIPTION", "SUMMARY", "add"]

SUMMARY: Final = "Serve the cache over HTTP, before an OpenAI-compatible server"
DESCRIPTION: Final = (
    "Clients use http://HOST:PORT/v1 as their base URL. Without --keys and --upstream-key-env they come with "
    "their own keys for the upstream, which are passed on, and no two accounts share an answer. With "
    "--upstream-key-env the proxy asks with its own key; then --keys says who may ask, and whose answers are "
    "whose. Without --keys anybody who can reach it may. SIGTERM lets running requests finish."
)

_PORTS: Final = range(65536)
_MOST_SECONDS: Final = 86_400


def add(serve: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    serve.add_argument("--upstream", metavar="URL", help="with its version: https://api.openai.com/v1")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at; default 127.0.0.1")
    serve.add_argument("--port", type=_port, default=8080, help="default 8080; 0 takes a free one")
    serve.add_argument("--workers", type=_workers, default=1, metavar="N", help="processes; default 1")
    serve.add_argument("--ttl", type=_ttl, metavar="SECONDS", help="how long answers are kept; or none")
    serve.add_argument(
        "--decision",
        choices=("none", "promise", "shadow", "judge", "vcache", "threshold"),
        help="when the answer to a near question is served; none: never",
    )
    serve.add_argument("--max-error", type=error_share, metavar="SHARE", help="of those that may be wrong")
    serve.add_argument("--threshold", type=cosine, metavar="COSINE", help="for --decision threshold")
    serve.add_argument("--namespace", help="keeps the answers of applications apart that share a store")
    serve.add_argument(
        "--keys",
        metavar="FILE",
        help='TOML: a table [keys] of tenants, each with a list of keys or of "sha256:HEX"',
    )
    serve.add_argument(
        "--upstream-key-env", metavar="NAME", help="the variable that holds the proxy's key for the upstream"
    )
    serve.add_argument(
        "--trust-tenant-header",
        action="store_true",
        help="believe X-Cache-Tenant, which is refused otherwise: for gateways that set it themselves",
    )
    unknown = serve.add_mutually_exclusive_group()
    unknown.add_argument(
        "--pass-through",
        dest="unknown",
        action="store_const",
        const="pass",
        default="auto",
        help="pass all else below /v1 on to the upstream; the default where clients use their own keys "
        "(otherwise only the list of models is)",
    )
    unknown.add_argument(
        "--refuse-unknown", dest="unknown", action="store_const", const="refuse", help="answer 404 instead"
    )
    serve.add_argument(
        "--renew-ids", action="store_true", help="give stored answers a new id and creation time"
    )
    serve.add_argument(
        "--max-body", type=_bytes, default=16 * 2**20, metavar="BYTES", help="of a request; default 16MiB"
    )
    serve.add_argument(
        "--max-concurrency",
        type=count,
        default=1000,
        metavar="N",
        help="requests at once in each worker, further ones are answered 429; default 1000",
    )
    serve.add_argument(
        "--timeout",
        type=_seconds,
        default=600.0,
        metavar="SECONDS",
        help="the upstream's longest silence; default 600",
    )
    serve.add_argument(
        "--grace",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="for running requests at the end; default 30",
    )
    serve.add_argument(
        "--log",
        choices=("failures", "requests"),
        default="failures",
        help="lines on standard error: failures of the cache, or one for each request as well",
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) not in _PORTS:
        raise argparse.ArgumentTypeError("expected a port from 0 to 65535")
    return int(text)


def _workers(text: str) -> int:
    if count(text) > 64:  # noqa: PLR2004
        raise argparse.ArgumentTypeError("expected a whole number from 1 to 64")
    return int(text)


def _ttl(text: str) -> float | str:
    return "none" if text == "none" else _number(text)


def _seconds(text: str) -> float:
    if not 0 < (found := _number(text)) <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, up to {_MOST_SECONDS}")
    return found


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise argparse.ArgumentTypeError("expected a number of seconds")
    return found


def _bytes(text: str) -> int:
    try:
        found = BackendURL("", "", "", {"size": text}).size("size", 0)
    except ConfigurationError:
        found = 0
    if found < 1:
        raise argparse.ArgumentTypeError("expected a size such as 16MiB")
    return found
