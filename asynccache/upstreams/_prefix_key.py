"""What of a chat request its upstream can have computed before: the key a router places it by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import orjson

from asynccache._keys import to_json

__all__ = ["prefix_key"]

_FORMAT: Final = "prefix/1"
_MODEL: Final = ("model", "adapter_id", "lora_name", "lora_path", "chat_template", "chat_template_kwargs")
"""Fields that change every token or every cached block, whatever the messages are."""
_INSTRUCTING: Final = ("system", "developer")


def prefix_key(body: Mapping[str, Any], *, salt: str | None = None) -> bytes:
    """Key, 32 bytes, of the part of a prompt that other requests are likely to share.

    It holds model and adapter, template, salt, tools (in any order, with their keys in any order) and the
    system and developer messages at the beginning. A request with neither tools nor instructions is
    placed by its first message, so that a conversation stays where it began.

    Args:
        body: of a chat request; a volatile line in its instructions makes a key of its own, so shape first.
        salt: keeps prefixes of different callers apart; the body's ``cache_salt`` is taken as well.

    Raises:
        InvalidRequest: naming the field that JSON cannot carry.
    """
    tools = [each for name in ("tools", "functions") for each in _sequence(body.get(name))]
    messages = _sequence(body.get("messages"))
    leading = _leading(messages)
    if not leading and not tools:
        leading = messages[:1]
    plain = orjson.loads(
        to_json(
            {
                "model": {name: body[name] for name in _MODEL if body.get(name) is not None},
                "salts": [salt, body.get("cache_salt")],
                "tools": tools,
                "messages": list(leading),
            }
        )
    )
    plain["tools"] = sorted(
        orjson.dumps(tool, option=orjson.OPT_SORT_KEYS).decode() for tool in plain["tools"]
    )
    return sha256(orjson.dumps([_FORMAT, plain], option=orjson.OPT_SORT_KEYS)).digest()


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _leading(messages: Sequence[Any]) -> Sequence[Any]:
    for place, message in enumerate(messages):
        if not isinstance(message, Mapping) or message.get("role") not in _INSTRUCTING:
            return messages[:place]
    return messages
