"""Whose request it is, by what it may be asked on, and what of its headers goes upstream."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import orjson

from asynccache._lru import LRU
from asynccache._models import Scope
from asynccache._wire.account import tenant_of
from asynccache._wire.answer import Headers
from asynccache._wire.control import CONTROL_HEADERS
from asynccache.server._proxy_keys import ClientKeys
from asynccache.server._proxy_refusal import Refusal

__all__ = ["Account", "Accounts", "RawHeaders", "passed_on"]

RawHeaders = list[tuple[bytes, bytes]]

TENANT_HEADER: Final = b"x-cache-tenant"

_OF_THE_CONNECTION: Final = frozenset(
    {
        *("connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate"),
        *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
_CREDENTIALS: Final = frozenset(
    {"api-key", "authorization", "cookie", "openai-organization", "openai-project", "x-api-key"}
)
_SHAPING: Final = frozenset({b"anthropic-beta", b"anthropic-version", b"openai-beta"})
"""Headers that shape an answer, and are sent along when the proxy asks with a key of its own."""
_TELLING: Final = frozenset({b"authorization", b"x-api-key", TENANT_HEADER, *_SHAPING})

_OUR_OWN: Final = [
    ("accept", "application/json"),
    ("content-type", "application/json"),
    ("user-agent", "asynccache"),
]

_CONTROL_CHARACTER: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""In no header's value (RFC 9110, 5.5); some servers send it all the same, and none may pass it on."""
_REMEMBERED: Final = 1024
_LONGEST: Final = 8 * 2**10
"""Bytes of headers that are remembered; longer ones are looked at each time."""


class Account(NamedTuple):
    """What is known of who asks."""

    scope: Scope
    headers: Headers | None
    """What to send upstream; None: the proxy asks in its own name."""


class Accounts:
    """Tells accounts apart.

    Clients without keys of the proxy's come with their own for the upstream: then all headers that may tell
    whose request it is, hashed, are the tenant, and go upstream as they came. Otherwise the proxy asks with
    its own key, and the tenant is whose key the client has shown, or None.

    Args:
        origin: base URL of the upstream.
        keys: the clients'; None asks for none.
        shared: whether the proxy has an account of its own upstream.
        upstream_key: of that account; None when it needs none.
        trust_tenant_header: whether ``X-Cache-Tenant`` is believed. It divides further what keys and
            accounts keep apart, and never joins it.
    """

    def __init__(
        self,
        origin: str,
        *,
        keys: ClientKeys | None = None,
        shared: bool = False,
        upstream_key: str | None = None,
        trust_tenant_header: bool = False,
    ) -> None:
        self._origin: Final = origin
        self._keys: Final = keys
        self._shared: Final = shared
        self._upstream_key: Final = upstream_key
        self._trusting: Final = trust_tenant_header
        self._known: Final = LRU[tuple[object, ...], Account](max_items=_REMEMBERED, max_weight=_REMEMBERED)

    def of(self, headers: RawHeaders, target: str) -> Account:
        """The account behind a request.

        Args:
            headers: as they came, names in lower case.
            target: path and query below the base URL.

        Raises:
            Refusal: the key is nobody's, or the client names a tenant and is not trusted to.
        """
        if self._shared:
            spelling = (target, *[header for header in headers if header[0] in _TELLING])
        else:
            spelling = (target, *[header for header in headers if header[0] != b"content-length"])
        account = self._known.get(spelling, 0.0)
        if account is None:
            account = self._shared_account(headers, target) if self._shared else self._own(headers, target)
            if sum(len(name) + len(value) for name, value in headers) + len(target) <= _LONGEST:
                self._known.put(spelling, account, weight=1, until=1.0, now=0.0)
        return account

    def outgoing(self, headers: RawHeaders) -> Headers:
        """What goes upstream of a request that is passed on.

        Raises:
            Refusal: the key is nobody's, or the client names a tenant and is not trusted to.
        """
        if not self._shared:
            self._named(headers)
            return passed_on(headers)
        self._tenant(headers)
        self._named(headers)
        out = [header for header in passed_on(headers) if header[0] not in _CREDENTIALS]
        return [*out, *self._our_key(headers)]

    def _own(self, headers: RawHeaders, target: str) -> Account:
        named = self._named(headers)
        out = [header for header in passed_on(headers) if header[0] != "accept-encoding"]
        tenant = tenant_of(out, origin=self._origin + target)
        return Account(Scope(tenant=tenant, user=named), out)

    def _shared_account(self, headers: RawHeaders, target: str) -> Account:
        tenant, named = self._tenant(headers), self._named(headers)
        shaping = [(_text(name), _text(value)) for name, value in headers if name in _SHAPING]
        # Whose answers they are too: several proxies may share a store, before several upstreams.
        whose = orjson.dumps([self._origin, self._upstream_key, tenant, target if shaping else ""])
        scope = Scope(tenant=tenant_of(shaping, origin=whose.decode()), user=named)
        return Account(scope, [*_OUR_OWN, *shaping, *self._our_key(headers)] if shaping else None)

    def _tenant(self, headers: RawHeaders) -> str | None:
        if self._keys is None:
            return None
        shown = _shown_key(headers)
        tenant = None if shown is None else self._keys.tenant(shown)
        if tenant is None:
            what = "no API key was given" if shown is None else "the API key is not known here"
            raise Refusal(401, what, headers=[("www-authenticate", "Bearer")])
        return tenant

    def _named(self, headers: RawHeaders) -> str | None:
        named = [value for name, value in headers if name == TENANT_HEADER]
        if not named:
            return None
        if not self._trusting:
            raise Refusal(
                400, "X-Cache-Tenant: this server takes no tenants from its clients", field="X-Cache-Tenant"
            )
        if len(named) > 1 or not named[0].strip():
            raise Refusal(400, "X-Cache-Tenant: expected one name", field="X-Cache-Tenant")
        return _text(named[0].strip())

    def _our_key(self, headers: RawHeaders) -> Headers:
        if self._upstream_key is None:
            return []
        if any(name in {b"x-api-key", b"anthropic-version"} for name, _ in headers):  # Anthropic's way
            return [("x-api-key", self._upstream_key)]
        return [("authorization", f"Bearer {self._upstream_key}")]


def passed_on(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Those not of the connection (RFC 9110, 7.6.1), nor for the cache, nor with control characters."""
    pairs = [
        (_text(name), _text(value)) for name, value in headers if _CONTROL_CHARACTER.search(value) is None
    ]
    named = {
        option.strip().lower() for name, value in pairs if name == "connection" for option in value.split(",")
    }
    dropped = named | _OF_THE_CONNECTION | CONTROL_HEADERS | {_text(TENANT_HEADER)}
    return [(name, value) for name, value in pairs if name not in dropped]


def _shown_key(headers: RawHeaders) -> bytes | None:
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() == b"bearer" and token.strip():
                return token.strip()
        elif name == b"x-api-key" and value.strip():
            return value.strip()
    return None


def _text(value: bytes) -> str:
    return value.decode("latin-1")
