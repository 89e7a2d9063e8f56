"""A backend's URL, taken apart; its options read with errors that name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from asynccache._errors import ConfigurationError

__all__ = ["BackendURL"]

_EXAMPLE: Final = "a backend is named by a URL such as 'sqlite:///answers.db' or 'memory://'"
_SIZE: Final = re.compile(r"(\d+)\s*([KMG]i?B)?", re.ASCII | re.IGNORECASE)
_UNITS: Final = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_FLAGS: Final = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


@dataclass(frozen=True, slots=True, repr=False)
class BackendURL:
    """What a backend's factory is given. Its errors and its repr never show credentials.

    Args:
        scheme: lower case; says which backend.
        netloc: host, port and credentials as written; "" when absent.
        path: percent-decoded, with its leading slash; "" when absent.
        options: the query, percent-decoded, each name once.
        secret: a password that did not come with the URL; None for none.
    """

    scheme: str
    netloc: str
    path: str
    options: Mapping[str, str]
    secret: str | None = None

    @classmethod
    def parse(cls, text: str) -> BackendURL:
        """Take a URL apart. Raises ConfigurationError when it is none."""
        scheme, separator, _ = text.partition("://") if isinstance(text, str) else ("", "", "")
        if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
            # Not quoted back: it may be a misplaced secret.
            raise ConfigurationError(f"not a backend URL; {_EXAMPLE}")
        scheme = scheme.lower()
        try:
            parts = urlsplit(text)
            pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True, errors="strict")
            path = unquote(parts.path, errors="strict")
        except ValueError as error:  # its text may quote credentials
            kind = type(error).__name__
            raise ConfigurationError(f"the {scheme}:// URL is malformed ({kind}); {_EXAMPLE}") from None
        if "#" in text:
            raise ConfigurationError(f"the {scheme}:// URL has a '#'; write it as %23")
        if "\0" in path:
            raise ConfigurationError(f"the path of the {scheme}:// URL has a null byte")
        options = dict(pairs)
        if len(options) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigurationError(f"option {twice!r} of the {scheme}:// URL is given more than once")
        return cls(scheme, parts.netloc, path, options)

    def expect(self, *known: str) -> None:
        """Raise ConfigurationError when there is any other option than these."""
        for name in self.options:
            if name not in known:
                raise self.problem(f"unknown option {name!r}; known: {', '.join(known) or 'none'}")

    def refuse_location(self) -> None:
        """Raise ConfigurationError when there is a host or a path, for a backend that has neither."""
        if self.netloc or self.path not in {"", "/"}:
            raise self.problem(f"neither a host nor a path means anything here; write {self.scheme}://")

    def text(self, name: str, default: str) -> str:
        """An option as it is written; the default when absent."""
        return self.options.get(name, default)

    def integer(self, name: str, default: int, *, minimum: int = 1) -> int:
        """A whole number of at least ``minimum``."""
        value = self.options.get(name)
        if value is None:
            return default
        if not re.fullmatch(r"\d{1,18}", value, re.ASCII) or int(value) < minimum:
            raise self._bad(name, f"a whole number of {minimum} or more")
        return int(value)

    def size(self, name: str, default: int, *, minimum: int = 1) -> int:
        """A number of bytes: plain, or with KB, MB, GB (powers of 1000) or KiB, MiB, GiB (of 1024)."""
        value = self.options.get(name)
        if value is None:
            return default
        match = _SIZE.fullmatch(value)
        size = -1 if match is None else int(match[1][:18]) * _UNITS[(match[2] or "").upper()]
        if size < minimum:
            raise self._bad(name, f"{minimum} bytes or more, such as 64MB or 1GiB")
        return size

    def seconds(self, name: str, default: float) -> float:
        """A time of more than 0 seconds."""
        value = self.options.get(name)
        if value is None:
            return default
        if not re.fullmatch(r"\d{1,12}(\.\d{1,9})?", value, re.ASCII) or float(value) == 0:
            raise self._bad(name, "seconds above 0, such as 60 or 0.5")
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """1, true or yes; 0, false or no."""
        value = self.options.get(name)
        if value is None:
            return default
        if value.lower() not in _FLAGS:
            raise self._bad(name, "1 or 0")
        return _FLAGS[value.lower()]

    def problem(self, what: str) -> ConfigurationError:
        """An error to raise, which says what URL it is about."""
        return ConfigurationError(f"{self.scheme}:// URL: {what}")

    def _bad(self, name: str, wanted: str) -> ConfigurationError:
        # The value is not quoted: a password may have ended up in the wrong option.
        return self.problem(f"option {name!r} must be {wanted}")

    def __repr__(self) -> str:
        host = self.netloc.rpartition("@")[2]
        query = "&".join(f"{name}=…" for name in self.options)
        return f"<BackendURL {self.scheme}://{host}{self.path}{'?' if query else ''}{query}>"
