"""What makes two Messages requests the same: every field except the neutral ones, in one spelling.

The default is to tell requests apart. A field is left out, a null dropped or a text touched only where
the reason stands here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from asynccache.dialects._forms import one_number_form, one_text_form

__all__ = ["NEUTRAL", "identity"]

NEUTRAL: Final = frozenset(
    {
        # how the answer is delivered
        "stream",
        # who asks, for the upstream's books
        "metadata",
        # how soon and out of which cache the upstream works; ``speed`` runs the same model, only faster
        "cache_control",
        "service_tier",
        "speed",
    }
)
"""Fields that do not change the answer; all others are part of the key, known or not."""

_NULL_IS_ABSENT: Final = frozenset(
    {
        # Anthropic
        "compaction",
        "container",
        "context_management",
        "diagnostics",
        "fallback_credit_token",
        "fallbacks",
        "inference_geo",
        "thread",
        # Anthropic where it is optional, and vLLM 0.32, where null is the default
        "output_config",
        "stop_sequences",
        "system",
        "temperature",
        "thinking",
        "tools",
        "top_k",
        "top_p",
        # vLLM 0.32
        "cache_salt",
        "chat_template_kwargs",
        "ec_transfer_params",
        "kv_transfer_params",
        "vllm_xargs",
    }
)
"""Nullable fields for which null and absence mean the same.

``tool_choice`` is not among them: a null may be no choice at all, where absence beside tools means "auto".
"""

_MARK: Final = "cache_control"
"""On a block or tool it says how far the upstream's own prompt cache reaches; the answer is the same."""

_HOLDING_BLOCKS: Final = ("tool_result", "search_result")
"""Blocks whose ``content`` may be a list of blocks, which may be marked in turn."""


def identity(body: Mapping[str, Any]) -> dict[str, Any]:
    """Canonical form of a checked body of plain JSON data; the body stays as it is."""
    made = {
        name: one_number_form(value)
        for name, value in body.items()
        if name not in NEUTRAL and not (value is None and name in _NULL_IS_ABSENT)
    }
    if "system" in made:
        made["system"] = _content(made["system"], starts=True, ends=True)
    if made.get("tools") is not None:
        made["tools"] = [_unmarked(tool) for tool in made["tools"]]
    made["messages"] = list(_messages(made["messages"]))
    return made


def _messages(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    roles = [message["role"] for message in messages]
    for place, message in enumerate(messages):
        # Messages of one role in a row become one turn: white space between them may be all that keeps two
        # words apart. The answer goes on with a final assistant message, right behind its last character.
        starts = place == 0 or roles[place - 1] != message["role"]
        is_last = place == len(messages) - 1
        ends = message["role"] != "assistant" if is_last else roles[place + 1] != message["role"]
        yield {**message, "content": _content(message["content"], starts=starts, ends=ends)}


def _content(content: Any, *, starts: bool, ends: bool) -> list[dict[str, Any]]:
    """A string is short for one text block."""
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return list(_blocks(blocks, starts=starts, ends=ends))


def _blocks(blocks: list[dict[str, Any]], *, starts: bool, ends: bool) -> Iterator[dict[str, Any]]:
    last = len(blocks) - 1
    for place, block in enumerate(blocks):
        made = _unmarked(block)
        if block["type"] == "text":
            # White space between blocks stays, as between messages of one role.
            made["text"] = one_text_form(
                block["text"], starts=starts and place == 0, ends=ends and place == last
            )
        yield made


def _unmarked(block: dict[str, Any]) -> dict[str, Any]:
    made = {name: value for name, value in block.items() if name != _MARK}
    kind, source = made.get("type"), made.get("source")
    if kind in _HOLDING_BLOCKS and isinstance(made.get("content"), list):
        made["content"] = _all_unmarked(made["content"])
    if kind == "document" and isinstance(source, dict) and isinstance(source.get("content"), list):
        made["source"] = {**source, "content": _all_unmarked(source["content"])}
    return made


def _all_unmarked(blocks: list[Any]) -> list[Any]:
    return [_unmarked(block) if isinstance(block, dict) else block for block in blocks]
