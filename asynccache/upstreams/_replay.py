"""A whole answer, given to someone who asked for a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

from asynccache._errors import UpstreamInvalidAnswer
from asynccache._models import Response
from asynccache._registry import find_dialect

__all__ = ["each", "replay"]


def replay(dialect: str, body: Mapping[str, Any], document: bytes) -> list[bytes]:
    """The frames of an answer document.

    Raises:
        UpstreamInvalidAnswer: the document is not an answer of this dialect.
    """
    try:
        return list(find_dialect(dialect).replay(body, Response(document)))
    except Exception as error:  # whatever the upstream's document makes it stumble over
        raise UpstreamInvalidAnswer("the upstream's answer cannot be streamed", body=document) from error


async def each(frames: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    """The frames, one by one."""
    for frame in frames:
        yield frame
