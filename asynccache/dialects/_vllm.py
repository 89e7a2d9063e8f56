"""What vLLM adds to OpenAI's protocols, and the cache must know of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["bypass"]

_BYPASSING: Final = ("kv_transfer_params", "ec_transfer_params")
"""They hand over state between servers: the answer is of use to this one request only."""


def bypass(body: Mapping[str, Any]) -> str | None:
    """A reason why this request must never touch the cache, or None; see ``Dialect.bypass``."""
    for name in _BYPASSING:
        if body.get(name) is not None:
            return f"{name} is set"
    return None
