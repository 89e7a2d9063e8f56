"""The salt that keeps one tenant's prompts from being guessed through another's waiting times. Pure."""

from __future__ import annotations

import hmac
import os
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from asynccache._errors import ConfigurationError
from asynccache._keys import to_json

if TYPE_CHECKING:
    from asynccache._models import Scope

__all__ = ["TenantSalt"]

_VARIABLE: Final = "ASYNCCACHE_TENANT_SECRET"
_LEAST_BYTES: Final = 32
"""As long as the HMAC's own output: a shorter secret would be its weakest part."""


class TenantSalt:
    """Makes ``cache_salt`` of a scope: base64url of HMAC-SHA256 over the JSON of what it tells apart.

    Args:
        secret: at least 32 bytes, the same in all processes that share the servers.
    """

    def __init__(self, secret: bytes) -> None:
        self._keyed: Final = hmac.new(secret, digestmod="sha256")

    @classmethod
    def of(cls, given: bytes | str | None) -> TenantSalt | None:
        """The salt of the secret a user gave; of ``ASYNCCACHE_TENANT_SECRET`` when given is None.

        None when there is no secret at all, or an empty one was given to say so.

        Raises:
            ConfigurationError: it is too short; the secret itself is not told.
        """
        name = "tenant_secret"
        if given is None:
            name, given = _VARIABLE, os.environ.get(_VARIABLE, "")
        if not isinstance(given, (bytes, str)):
            raise ConfigurationError(f"{name}: expected bytes or a string, got {type(given).__name__}")
        secret = given.encode("utf-8", "surrogatepass") if isinstance(given, str) else given
        if not secret:
            return None
        if len(secret) < _LEAST_BYTES:
            raise ConfigurationError(
                f"{name}: expected at least {_LEAST_BYTES} bytes, got {len(secret)}; "
                "`openssl rand -base64 32` makes one"
            )
        return cls(secret)

    def salted(self, body: Mapping[str, Any], scope: Scope) -> Mapping[str, Any]:
        """The body with the salt of the scope's tenant and namespace.

        A salt of the body's own is folded into it, so that it still separates what it was meant to
        separate and tells nobody how. One that the server would refuse stays, for it to refuse.

        Raises:
            InvalidRequest: the body's salt is no valid Unicode.
        """
        parts: list[str | None] = [scope.tenant, scope.namespace]
        own = body.get("cache_salt")
        if own is not None:
            if not isinstance(own, str) or not own:
                return body
            to_json({"cache_salt": own})
            parts.append(own)
        return {**body, "cache_salt": self._salt(parts)}

    def _salt(self, parts: list[str | None]) -> str:
        keyed = self._keyed.copy()
        keyed.update(orjson.dumps(parts))
        return urlsafe_b64encode(keyed.digest()).rstrip(b"=").decode()

    def __repr__(self) -> str:
        return "<TenantSalt>"
