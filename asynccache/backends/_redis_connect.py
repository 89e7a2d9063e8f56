"""Connections to Redis servers, and the way to the one that is meant."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from asynccache._errors import BackendUnavailable
from asynccache.backends._redis_errors import as_backend_error

if TYPE_CHECKING:
    from ssl import SSLContext

    from redis.asyncio.connection import AbstractConnection, RedisSSLContext

__all__ = ["Address", "Dialing", "MasterByName"]

Address: TypeAlias = "tuple[str, int]"

CERTIFICATES_KEPT: Final = 60.0
"""Seconds after which files are read again: certificates are renewed."""
SENTINEL_PATIENCE: Final = 0.5
"""Seconds one sentinel may take; then the next is asked."""


class Certificates:
    """What connections with TLS trust and show, read from files at most once a minute.

    Reading takes some 0.1 seconds when the machine's own authorities are among it, so it is done in a thread.
    """

    def __init__(self) -> None:
        self._read: SSLContext | None = None
        self._read_at = 0.0

    async def lend(self, connection: SSLConnection) -> None:
        """Give it to a connection that is to be made."""
        now = asyncio.get_running_loop().time()
        if self._read is None or not 0 <= now - self._read_at < CERTIFICATES_KEPT:
            self._read = await asyncio.to_thread(_context, connection.ssl_context)
            self._read_at = now
        connection.ssl_context.context = self._read


def _context(wanted: RedisSSLContext) -> SSLContext:
    """What redis-py would make, but that authorities which are named are the only ones."""
    made = ssl.create_default_context(cafile=wanted.ca_certs, capath=wanted.ca_path, cadata=wanted.ca_data)
    made.check_hostname = wanted.check_hostname
    made.verify_mode = ssl.VerifyMode(wanted.cert_reqs)
    for flag in wanted.include_verify_flags or ():
        made.verify_flags |= flag
    for flag in wanted.exclude_verify_flags or ():
        made.verify_flags &= ~flag
    if wanted.certfile or wanted.keyfile:
        made.load_cert_chain(wanted.certfile or "", wanted.keyfile, wanted.password)
    if wanted.min_version is not None:
        made.minimum_version = wanted.min_version
    if wanted.ciphers is not None:
        made.set_ciphers(wanted.ciphers)
    return made


@dataclass(frozen=True, kw_only=True)
class Dialing:
    """How connections are made.

    Args:
        username: of an ACL user; None for the default one.
        password: None for none.
        db: number of the database.
        tls: arguments of redis-py's ``SSLConnection``; None for none.
        timeout: seconds that making a connection may take.
        remap: where an address that a server names can be reached; for proxies and tunnels.
        sentinel: username and password for sentinels, which need not be those of the servers.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: dict[str, Any] | None = field(default=None, repr=False)
    timeout: float = 2.0
    remap: Callable[[Address], Address] | None = None
    sentinel: tuple[str | None, str | None] = field(default=(None, None), repr=False)
    _certificates: Certificates = field(default_factory=Certificates, init=False, repr=False)

    def where(self, address: Address) -> Address:
        """Where an address that a server has named can be reached."""
        return address if self.remap is None else self.remap(address)

    async def connect(self, address: Address, *, protocol: int = 3) -> AbstractConnection:
        """A connection that is ready for commands. Raises what redis-py raises."""
        host, port = address
        options: dict[str, Any] = {
            "host": host,
            "port": port,
            "db": self.db,
            "username": self.username,
            "password": self.password,
            "protocol": protocol,
            "client_name": "asynccache",
            "socket_timeout": self.timeout,
            "socket_connect_timeout": self.timeout,
            "socket_keepalive": True,
            "retry": Retry(NoBackoff(), 0),
            # As it is by default, it would turn off the check for unread replies.
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        made = Connection(**options) if self.tls is None else SSLConnection(**options, **self.tls)
        try:
            async with asyncio.timeout(self.timeout):
                if isinstance(made, SSLConnection):
                    await self._certificates.lend(made)
                await made.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await made.disconnect(nowait=True)
            raise
        # Whoever uses it has a deadline of its own.
        made.socket_timeout = None
        return made


class MasterByName:
    """The master that sentinels name.

    Args:
        sentinels: their addresses.
        name: of the service.
        dialing: how connections are made.
    """

    def __init__(self, sentinels: Sequence[Address], name: str, dialing: Dialing) -> None:
        self._sentinels: Final = list(sentinels)  # the one that answered last comes first
        self._name: Final = name
        self._dialing: Final = dialing
        username, password = dialing.sentinel
        self._asking: Final = replace(
            dialing, username=username, password=password, db=0, timeout=SENTINEL_PATIENCE
        )

    async def connect(self, *, protocol: int = 3) -> AbstractConnection:
        """A connection to the master of the moment, which says itself that it is one."""
        made = await self._dialing.connect(self._dialing.where(await self.address()), protocol=protocol)
        role = await _ask(made, "ROLE", within=self._dialing.timeout)
        if role[0] != b"master":
            await made.disconnect(nowait=True)
            raise BackendUnavailable("the server that sentinels name is not a master")
        return made

    async def address(self) -> Address:
        """The address of the master of the moment, as sentinels name it. Raises BackendUnavailable."""
        trouble: Exception | None = None
        for sentinel in tuple(self._sentinels):
            try:
                made = await self._asking.connect(self._dialing.where(sentinel))
                told = await _ask(made, "SENTINEL", "MASTER", self._name, within=SENTINEL_PATIENCE)
                await made.disconnect(nowait=True)
                address = told[b"ip"].decode(), int(told[b"port"])
                if b"_down" in told[b"flags"]:
                    raise BackendUnavailable("a sentinel finds the master down")
            except Exception as error:  # noqa: BLE001  (a border: the next may know)
                trouble = error
                continue
            self._sentinels.remove(sentinel)
            self._sentinels.insert(0, sentinel)
            return address
        reason = "" if trouble is None else str(as_backend_error(trouble))
        raise BackendUnavailable(f"no sentinel names a master of {self._name!r}; {reason}") from trouble


async def _ask(connection: AbstractConnection, *words: str, within: float) -> Any:
    """The reply to one command; the connection is closed when there is none in time."""
    try:
        async with asyncio.timeout(within):
            await connection.send_command(*words)
            return await connection.read_response()
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
