"""What an answer says it took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from asynccache._models import Cost

if TYPE_CHECKING:
    from asynccache._models import Response

__all__ = ["cost", "tokens"]


def cost(response: Response, *, asked: str = "prompt_tokens", answered: str = "completion_tokens") -> Cost:
    """Tokens the upstream reported in ``usage``; 0 where it reported none.

    Args:
        response: the answer.
        asked: the field with the tokens of the request.
        answered: the field with those of the answer.
    """
    try:
        document = orjson.loads(response.body)
    except ValueError:
        return Cost()
    usage = document.get("usage") if isinstance(document, dict) else None
    if not isinstance(usage, dict):
        return Cost()
    return Cost(tokens(usage.get(asked)), tokens(usage.get(answered)))


def tokens(value: Any) -> int:
    """A number of tokens as reported; 0 for anything that is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
