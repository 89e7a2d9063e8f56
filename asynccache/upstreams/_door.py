"""What an HTTP upstream accepts as its options. Pure, but for one look at the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import httpx2

from asynccache._errors import ConfigurationError

__all__ = ["checked_api_key", "checked_base_url", "checked_headers", "checked_number", "checked_timeout"]

_SPACE_OR_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")  # 5.5, without the obsolete rest


def checked_base_url(given: str) -> httpx2.URL:
    """The URL, without a slash at its end.

    Raises:
        ConfigurationError: it cannot be an API's base. It is quoted only where it can hold no secret.
    """
    if not isinstance(given, str):
        raise ConfigurationError(f"base_url: expected a string, got {type(given).__name__}")
    if _SPACE_OR_CONTROL.search(given):
        raise ConfigurationError("base_url: must not contain spaces or control characters")
    try:
        parts = urlsplit(given)
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError("base_url: credentials do not belong in a URL; pass api_key or headers")
        if "?" in given or "#" in given:
            raise ConfigurationError("base_url: must not have a query or a fragment; pass headers instead")
        if parts.scheme not in {"http", "https"}:
            raise ConfigurationError(f"base_url: expected http:// or https://, got {given!r}")
        if not parts.hostname:
            raise ConfigurationError(f"base_url: {given!r} names no host")
        _ = parts.port  # a port out of range raises ValueError when looked at
        url = httpx2.URL(given.rstrip("/"))
    except ConfigurationError:
        raise
    except (ValueError, httpx2.InvalidURL) as error:
        raise ConfigurationError(f"base_url: not a valid URL ({error})") from error
    if url.path.endswith("/chat/completions"):
        raise ConfigurationError(
            "base_url: give the part before /chat/completions, such as http://127.0.0.1:8000/v1"
        )
    return url


def checked_api_key(given: str | None, url: httpx2.URL) -> str | None:
    """The key to send, or None to send none.

    ``OPENAI_API_KEY`` is looked up only for OpenAI's own host: a key must not go to whoever is named
    in a base URL.
    """
    if given is None and url.scheme == "https" and url.host == "api.openai.com":
        given = os.environ.get("OPENAI_API_KEY")
    if not given:
        return None
    if not isinstance(given, str) or _SPACE_OR_CONTROL.search(given) or not given.isascii():
        raise ConfigurationError("api_key: expected a string of ASCII characters without spaces")
    return given


def checked_headers(given: Mapping[str, str] | None) -> dict[str, str]:
    """The headers, by lower-case name. A refusal names the header, never its value."""
    headers: dict[str, str] = {}
    for name, value in (given or {}).items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError(f"headers: {name!r} is not the name of a header")
        if not isinstance(value, str) or not (value == "" or _HEADER_VALUE.fullmatch(value)):
            raise ConfigurationError(f"headers: the value of {name!r} must be printable ASCII text")
        headers[name.lower()] = value
    return headers


def checked_timeout(given: httpx2.Timeout | float | None) -> httpx2.Timeout:
    """The timeouts of the four phases; one number sets them all, None sets none."""
    if given is None or isinstance(given, httpx2.Timeout):
        return httpx2.Timeout(given)
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given < float("inf"):
        raise ConfigurationError(
            f"timeout: expected seconds above 0, an httpx2.Timeout or None, got {given!r}"
        )
    return httpx2.Timeout(given)


def checked_number(name: str, given: int, *, least: int) -> int:
    """A whole number of at least ``least``."""
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise ConfigurationError(f"{name}: expected a whole number of at least {least}, got {given!r}")
    return given
