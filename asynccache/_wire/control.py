"""What HTTP headers ask of the cache."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from asynccache._errors import InvalidRequest
from asynccache._models import NO_CONTROL, Control

__all__ = ["CONTROL_HEADERS", "control_from"]

CONTROL_HEADERS: Final = frozenset({"x-cache-tags"})
"""Headers for the cache alone: they are not passed on to the upstream."""

_DIRECTIVE: Final = re.compile(
    r'\s*(?:([A-Za-z0-9!#$%&\'*+.^_`|~-]+)(?:=(?:"([^"]*)"|([^\s",]*)))?\s*)?(?:,|$)'
)
"""A list of RFC 9110, 5.6.1 may have empty elements."""

_SWITCHES: Final = {"no-cache": "no_cache", "no-store": "no_store", "only-if-cached": "only_if_cached"}
_SECONDS: Final = {"max-age": "max_age", "stale-if-error": "stale_if_error"}


def control_from(headers: Mapping[str, str]) -> Control:
    """The control that request headers spell out.

    ``Cache-Control`` (RFC 9111 and 5861) with ``no-cache``, ``no-store``, ``only-if-cached``, ``max-age``
    and ``stale-if-error``, others are passed over; and ``X-Cache-Tags``, separated by commas.

    Args:
        headers: by lower-case name; several of one name joined by commas.

    Raises:
        InvalidRequest: naming the header and what is wrong in it.
    """
    directives, tags = headers.get("cache-control"), headers.get("x-cache-tags")
    if directives is None and tags is None:
        return NO_CONTROL
    asked: dict[str, Any] = {}
    for name, value in _directives(directives or ""):
        if name in _SWITCHES:
            asked[_SWITCHES[name]] = True
        elif name in _SECONDS:
            if value is None or not (value.isascii() and value.isdigit()) or len(value) > 10:  # noqa: PLR2004
                raise InvalidRequest("Cache-Control", f"{name} needs whole seconds, as in {name}=60")
            asked[_SECONDS[name]] = int(value)
    if tags is not None:
        asked["tags"] = tuple(tag for tag in (part.strip() for part in tags.split(",")) if tag)
    return Control(**asked) if asked else NO_CONTROL


def _directives(text: str) -> Iterator[tuple[str, str | None]]:
    place = 0
    while place < len(text):
        found = _DIRECTIVE.match(text, place)
        if found is None or found.end() == place:
            raise InvalidRequest("Cache-Control", "not a list of directives, as in max-age=60, no-store")
        if found[1] is not None:
            yield found[1].lower(), found[2] if found[2] is not None else found[3]
        place = found.end()
