"""The request body, said for one of the two modes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["for_fetch", "for_stream"]


def for_fetch(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ask for a whole answer. ``stream_options`` goes too: servers refuse it where nothing is streamed."""
    if "stream" not in body and "stream_options" not in body:
        return body
    return {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}


def for_stream(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ask for the answer as it is made."""
    return body if body.get("stream") is True else {**body, "stream": True}
