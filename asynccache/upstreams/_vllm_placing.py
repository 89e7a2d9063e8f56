"""What of a request decides which replica it goes to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asynccache.upstreams.prefix_router import prefix_key

__all__ = ["placed_by"]

_HEAD: Final = 512
"""Characters of a text prompt by which it is placed: its instructions, with luck, and not its question."""


def placed_by(dialect: str, body: Mapping[str, Any]) -> bytes:
    """Key, 32 bytes, of the part of the prompt that other requests are likely to share.

    Args:
        dialect: the protocol's name; of one with nothing to share (embeddings) each body has its own key.
        body: as it is sent, its ``cache_salt`` included.

    Raises:
        InvalidRequest: naming a field that JSON cannot carry.
    """
    return prefix_key(_as_chat(dialect, body))


def _as_chat(dialect: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    match dialect:
        case "chat.completions":
            return body
        case "messages":
            return _instructed(body, body.get("system"), body.get("messages"))
        case "responses":
            return _instructed(body, body.get("instructions"), body.get("input"))
        case "completions":
            prompt = body.get("prompt")
            return _instructed(body, prompt[:_HEAD] if isinstance(prompt, (str, list)) else prompt, ())
        case _:
            return _instructed(body, dict(body), ())


def _instructed(body: Mapping[str, Any], instructions: Any, rest: Any) -> Mapping[str, Any]:
    """The same in the form of a chat request."""
    leading = [] if instructions is None else [{"role": "system", "content": instructions}]
    following = list(rest) if isinstance(rest, (list, tuple)) else [{"role": "user", "content": rest}]
    return {**body, "messages": [*leading, *following]}
