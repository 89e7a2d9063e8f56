"""The keys that clients come with, and whose they are."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from asynccache._errors import ConfigurationError

__all__ = ["ClientKeys"]

_HASHED: Final = re.compile(r"sha256:([0-9a-fA-F]{64})")
_WANTED: Final = 'a list of keys, each "sha256:<64 hex digits>" or the key itself'


class ClientKeys:
    """Tenants by their keys. Only hashes are kept, and looked up, so that time tells nothing of a key.

    Args:
        tenants: keys by tenant; a key is ``"sha256:<hex>"`` or the key itself.

    Raises:
        ConfigurationError: naming the tenant; keys are not quoted.
    """

    def __init__(self, tenants: Mapping[str, Any]) -> None:
        self._tenants: Final[dict[bytes, str]] = {}
        for tenant, keys in tenants.items():
            if not isinstance(keys, list) or not all(isinstance(key, str) and key for key in keys):
                raise ConfigurationError(f"keys: {tenant!r} needs {_WANTED}")
            for key in keys:
                hashed = _HASHED.fullmatch(key)
                if hashed is None and key.startswith("sha256:"):
                    raise ConfigurationError(f"keys: {tenant!r} needs {_WANTED}")
                digest = _hash(key.encode()) if hashed is None else bytes.fromhex(hashed[1])
                if self._tenants.setdefault(digest, tenant) != tenant:
                    raise ConfigurationError(f"keys: {tenant!r} has a key that another tenant has")

    @classmethod
    def read(cls, path: str) -> ClientKeys:
        """Those of a TOML file, from its table ``[keys]``.

        Raises:
            ConfigurationError: the file cannot be read, or holds no such table.
        """
        try:
            document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, RecursionError):  # its words may quote a key
            raise ConfigurationError(f"{path}: not a TOML file") from None
        tenants = document.get("keys")
        if not isinstance(tenants, dict) or not tenants:
            raise ConfigurationError(f'{path}: needs a table [keys], as in acme = ["sha256:…"]')
        return cls(tenants)

    def tenant(self, key: bytes) -> str | None:
        """Whose key it is; None when nobody's."""
        return self._tenants.get(_hash(key))


def _hash(key: bytes) -> bytes:
    return sha256(key).digest()
