"""What makes two chat requests the same: every field except the neutral ones, in one spelling.

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
        "stream_options",
        "stream_interval",
        # who asks, for the upstream's books
        "user",
        "metadata",
        "request_id",
        "session_id",
        "safety_identifier",
        "store",
        # how soon and out of which cache the upstream works
        "priority",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
"""Fields that do not change the answer; all others are part of the key, known or not."""

_NULL_IS_ABSENT: Final = frozenset(
    {
        # OpenAI
        "audio",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "modalities",
        "model",
        "n",
        "prediction",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "temperature",
        "tools",
        "top_p",
        "verbosity",
        "web_search_options",
        # vLLM 0.32
        "allowed_token_ids",
        "cache_salt",
        "chat_template",
        "chat_template_kwargs",
        "documents",
        "ec_transfer_params",
        "kv_transfer_params",
        "logprob_token_ids",
        "media_io_kwargs",
        "min_p",
        "mm_processor_kwargs",
        "prompt_logprobs",
        "repetition_detection",
        "repetition_penalty",
        "return_mm_kwargs",
        "return_prompt_text",
        "return_token_ids",
        "return_token_offsets",
        "return_tokens_as_token_ids",
        "stop_token_ids",
        "structured_outputs",
        "thinking_token_budget",
        "top_k",
        "truncate_prompt_tokens",
        "truncation_side",
        "vllm_xargs",
        "watermarking",
    }
)
"""Nullable fields for which null and absence are documented to mean the same.

Not among them, because vLLM tells the two apart: ``tool_choice`` (absent beside tools means "auto", null
means none), ``parallel_tool_calls`` (absent means true, null acts as false) and ``top_logprobs`` (absent
means 0, null means no log probabilities).
"""

_MESSAGE_NULL_IS_ABSENT: Final = frozenset(
    {
        "annotations",
        "audio",
        "content",
        "function_call",
        "name",
        "reasoning",
        "reasoning_content",
        "refusal",
        "tool_call_id",
        "tool_calls",
    }
)


def identity(body: Mapping[str, Any]) -> dict[str, Any]:
    """Canonical form of a checked body of plain JSON data; the body stays as it is."""
    made = {
        name: one_number_form(value)
        for name, value in body.items()
        if name not in NEUTRAL and not (value is None and name in _NULL_IS_ABSENT)
    }
    if isinstance(made.get("stop"), str):
        made["stop"] = [made["stop"]]
    if "max_completion_tokens" in made and "max_tokens" not in made:
        made["max_tokens"] = made.pop("max_completion_tokens")
    messages = made["messages"]
    final = len(messages) - 1
    # Several upstreams continue a final assistant message unasked: the white space it ends with counts.
    continued = bool(made.get("continue_final_message")) or messages[final]["role"] == "assistant"
    made["messages"] = [
        _message(message, open_ended=continued and index == final) for index, message in enumerate(messages)
    ]
    return made


def _message(message: dict[str, Any], *, open_ended: bool) -> dict[str, Any]:
    made = {
        name: value
        for name, value in message.items()
        if not (value is None and name in _MESSAGE_NULL_IS_ABSENT)
    }
    content = made.get("content")
    if isinstance(content, str):
        made["content"] = one_text_form(content, starts=True, ends=not open_ended)
    elif isinstance(content, list):
        made["content"] = list(_parts(content, open_ended=open_ended))
    return made


def _parts(parts: list[dict[str, Any]], *, open_ended: bool) -> Iterator[dict[str, Any]]:
    for index, part in enumerate(parts):
        if part["type"] == "text":
            # White space between parts may be all that keeps two words apart: it stays.
            ends = index == len(parts) - 1 and not open_ended
            yield {**part, "text": one_text_form(part["text"], starts=index == 0, ends=ends)}
        else:
            yield part
