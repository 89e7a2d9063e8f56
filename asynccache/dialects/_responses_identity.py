"""What makes two Responses requests the same: every field except the neutral ones, in one spelling.

The default is to tell requests apart. A field is left out, a null dropped or a spelling changed only where
the reason stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asynccache.dialects._forms import one_number_form, one_text_form
from asynccache.dialects._responses_check import TEXTS

__all__ = ["NEUTRAL", "identity"]

NEUTRAL: Final = frozenset(
    {
        # how the answer is delivered
        "stream",
        "stream_options",
        # who asks, for the upstream's books
        "user",
        "metadata",
        "request_id",
        "session_id",
        "safety_identifier",
        # how soon and out of which cache the upstream works
        "priority",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
"""Fields that do not change the answer; all others are part of the key, known or not.

``store`` is not among them: what is stored at the server can be continued by its id, and what is not
cannot.
"""

_CACHE_HINTS: Final = ("mode", "ttl")
"""Parts of ``prompt_cache_options`` that only say how the upstream caches prompts."""

_NULL_IS_ABSENT: Final = frozenset(
    {
        # OpenAI
        "background",
        "context_management",
        "conversation",
        "include",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "moderation",
        "previous_response_id",
        "prompt",
        "reasoning",
        "temperature",
        "top_p",
        # vLLM 0.32
        "cache_salt",
        "chat_template_kwargs",
        "ec_transfer_params",
        "frequency_penalty",
        "kv_transfer_params",
        "logit_bias",
        "media_io_kwargs",
        "min_p",
        "mm_processor_kwargs",
        "model",
        "presence_penalty",
        "previous_input_messages",
        "repetition_penalty",
        "return_mm_kwargs",
        "seed",
        "structured_outputs",
        "text",
        "top_k",
        "vllm_xargs",
        "watermarking",
    }
)
"""Nullable fields for which absence is documented to mean null. Not among them those that vLLM gives
another default: ``parallel_tool_calls``, ``stop``, ``stop_token_ids``, ``top_logprobs``, ``truncation``."""


def identity(body: Mapping[str, Any]) -> dict[str, Any]:
    """Canonical form of a checked body of plain JSON data; the body stays as it is."""
    made = {
        name: one_number_form(value)
        for name, value in body.items()
        if name not in NEUTRAL and not (value is None and name in _NULL_IS_ABSENT)
    }
    if made.get("store") is None or made["store"] is True:  # the default, say OpenAI and vLLM
        made.pop("store", None)
    if isinstance(made.get("stop"), str):
        made["stop"] = [made["stop"]]
    if isinstance(made.get("prompt_cache_options"), dict):
        options = made.pop("prompt_cache_options")
        rest = {name: value for name, value in options.items() if name not in _CACHE_HINTS}
        if rest:
            made["prompt_cache_options"] = rest
    if isinstance(made.get("instructions"), str):
        made["instructions"] = one_text_form(made["instructions"], starts=True, ends=True)
    given = made.get("input")
    if isinstance(given, str):  # a text input with the user's role, says OpenAI
        given = [{"role": "user", "content": given}]
    if isinstance(given, list):
        final = len(given) - 1
        made["input"] = [_item(item, final=index == final) for index, item in enumerate(given)]
    return made


def _item(item: dict[str, Any], *, final: bool) -> dict[str, Any]:
    kind = item.get("type")
    if not (kind == "message" or (kind is None and "content" in item)):
        return item
    made = {name: value for name, value in item.items() if not (value is None and name == "phase")}
    made["type"] = "message"
    # Several servers continue a final assistant message unasked: the white space it ends with counts.
    open_ended = final and made["role"] == "assistant"
    content = made["content"]
    if isinstance(content, list):
        content = _parts(content, open_ended=open_ended)
        if len(content) == 1 and content[0].keys() == {"type", "text"} and content[0]["type"] == "input_text":
            content = content[0]["text"]  # OpenAI lists a text input as one such part
    if isinstance(content, str):
        content = one_text_form(content, starts=True, ends=not open_ended)
    made["content"] = content
    return made


def _parts(parts: list[dict[str, Any]], *, open_ended: bool) -> list[dict[str, Any]]:
    made = []
    final = len(parts) - 1
    for index, part in enumerate(parts):
        # Where the upstream's prompt cache may cut says nothing about the answer.
        kept = {name: value for name, value in part.items() if name != "prompt_cache_breakpoint"}
        if kept["type"] in TEXTS:
            # White space between parts may be all that keeps two words apart: it stays.
            ends = index == final and not open_ended
            kept["text"] = one_text_form(kept["text"], starts=index == 0, ends=ends)
        made.append(kept)
    return made
