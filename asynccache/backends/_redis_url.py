"""What ``redis://`` URLs mean, and where one comes from that names no server."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from asynccache._url import BackendURL
from asynccache.backends.tiered import behind_memory

if TYPE_CHECKING:
    from asynccache._protocols import Backend
    from asynccache.backends._redis_connect import Address

__all__ = ["from_url", "redis_options"]

PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_URLS: Final = ("REDIS_URL", "LLM_REDIS_URL")
_OPTIONS: Final = (
    "ca",
    "cert",
    "connect_timeout",
    "index",
    "key",
    "op_timeout",
    "prefix",
    "sentinel_password",
    "sentinel_username",
    "shards",
    "tls",
    "vectors",
    "verify",
    "write_behind",
    "write_timeout",
)
_MEMORY: Final = ("memory", "memory_entries", "memory_ttl")
_FORMS: Final = {
    "redis": "redis://user:password@host:6379/0",
    "redis+sentinel": "redis+sentinel://host:26379,host:26379/name-of-the-service",
    "redis+cluster": "redis+cluster://host:6379,host:6379",
}


def from_url(url: BackendURL) -> Backend:
    """One server, a service under sentinels, or a cluster; with a memory in front.

    ``redis://[user[:password]@]host[:port][/db]``, ``rediss://`` for TLS, ``redis+sentinel://host,host/name``
    and ``redis+cluster://host,host``. A ``redis://`` that names no host takes the URL in ``REDIS_URL``, else
    in ``LLM_REDIS_URL``, else ``REDIS_HOST``, ``REDIS_PORT`` and ``REDIS_PASSWORD``, else this machine.

    Options: ``prefix``, ``shards``, ``vectors``, ``index``, ``op_timeout``, ``write_timeout``,
    ``connect_timeout`` and ``write_behind`` of RedisBackend; those of the memory (``memory``,
    ``memory_entries``, ``memory_ttl``); for TLS ``tls=1`` (with sentinels or a cluster), ``ca``, ``cert`` and
    ``key`` (files) and ``verify=0``; ``sentinel_username`` and ``sentinel_password``.
    """
    url = located(url, os.environ)
    url.expect(*_OPTIONS, *_MEMORY)
    try:
        from asynccache.backends.redis import RedisBackend
    except ImportError as error:
        raise url.problem(f'redis is not installed ({error}); pip install "asynccache[redis]"') from error
    return behind_memory(url, RedisBackend(**redis_options(url)))


def located(url: BackendURL, environment: Mapping[str, str]) -> BackendURL:
    """The URL, or what the environment says in place of one that names no host; its own options stay."""
    if url.netloc or url.scheme != "redis":
        return url
    for name in _URLS:
        if environment.get(name):
            found = BackendURL.parse(environment[name])
            if found.scheme.removeprefix("rediss").removeprefix("redis") not in {"", "+sentinel", "+cluster"}:
                raise url.problem(f"the environment variable {name} names a {found.scheme}:// URL")
            if not found.netloc:
                raise url.problem(f"the URL in the environment variable {name} names no host")
            return replace(found, options={**found.options, **url.options})
    host, port = environment.get("REDIS_HOST") or "127.0.0.1", environment.get("REDIS_PORT") or str(PORT)
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return replace(url, netloc=f"{host}:{port}", secret=environment.get("REDIS_PASSWORD") or None)


def redis_options(url: BackendURL) -> dict[str, Any]:
    """The arguments of RedisBackend that a URL stands for."""
    kind = url.scheme.replace("rediss", "redis", 1)
    credentials, _, hosts = url.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    port = SENTINEL_PORT if kind == "redis+sentinel" else PORT
    nodes = [_address(url, each, port) for each in hosts.split(",") if each]
    path = [part for part in url.path.split("/") if part]
    if not nodes or (kind == "redis" and len(nodes) > 1):
        raise url.problem(f"expected {_FORMS[kind]}")
    options: dict[str, Any] = {"nodes": nodes}
    if kind == "redis+sentinel":
        if not path:
            raise url.problem(f"the name of the service is missing; expected {_FORMS[kind]}")
        options["sentinel"] = path.pop(0)
    options["cluster"] = kind == "redis+cluster"
    if path and (len(path) > 1 or options["cluster"] or not re.fullmatch(r"\d{1,5}", path[0], re.ASCII)):
        raise url.problem(f"its path means nothing; expected {_FORMS[kind]}")
    if path:
        options["db"] = int(path[0])
    options["username"] = unquote(username) or None
    options["password"] = unquote(password) or url.secret
    if username and not password:
        raise url.problem("a user without a password; a password alone is written redis://:password@host")
    options["tls"] = _tls(url)
    options["sentinel_auth"] = (
        url.text("sentinel_username", "") or None,
        url.text("sentinel_password", "") or None,
    )
    for name in ("op_timeout", "write_timeout", "connect_timeout"):
        if name in url.options:
            options[name] = url.seconds(name, 0.0)
    for name in ("prefix", "vectors", "index"):
        if name in url.options:
            options[name] = url.text(name, "")
    if "shards" in url.options:
        options["shards"] = url.integer("shards", 1)
    options["write_behind"] = url.flag("write_behind", default=True)
    return options


def _address(url: BackendURL, text: str, default: int) -> Address:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]+)(?::(\d{1,5}))?", text)
    if match is None or not 0 < int(match[2] or default) < 2**16:
        raise url.problem("a host is written name, name:port or [IPv6]:port, several with commas between")
    return unquote(match[1]).strip("[]"), int(match[2] or default)


def _tls(url: BackendURL) -> dict[str, Any] | None:
    wanted = url.flag("tls", default=url.scheme.startswith("rediss"))
    if not wanted:
        for name in ("ca", "cert", "key", "verify"):
            if name in url.options:
                raise url.problem(f"option {name!r} makes no sense without TLS: write rediss:// or tls=1")
        return None
    for name in ("ca", "cert", "key"):
        if name in url.options and not Path(url.text(name, "")).is_file():
            raise url.problem(f"option {name!r}: there is no file {url.text(name, '')!r}")
    verify = url.flag("verify", default=True)
    options: dict[str, Any] = {
        "ssl_cert_reqs": "required" if verify else "none",
        "ssl_check_hostname": verify,
        "ssl_ca_certs": url.text("ca", "") or None,
        "ssl_certfile": url.text("cert", "") or None,
        "ssl_keyfile": url.text("key", "") or None,
    }
    return options
