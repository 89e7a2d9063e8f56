"""What makes two text-completion requests the same: every field except the neutral ones, in one spelling.

The default is to tell requests apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asynccache.dialects._chat_identity import NEUTRAL
from asynccache.dialects._forms import one_number_form
from asynccache.dialects._inputs import as_inputs

__all__ = ["NEUTRAL", "identity"]

_NULL_IS_ABSENT: Final = frozenset(
    {
        # OpenAI
        "best_of",
        "echo",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "model",
        "n",
        "presence_penalty",
        "prompt",
        "seed",
        "stop",
        "suffix",
        "temperature",
        "top_p",
        # vLLM 0.32
        "allowed_token_ids",
        "cache_salt",
        "ec_transfer_params",
        "kv_transfer_params",
        "logprob_token_ids",
        "min_p",
        "prompt_embeds",
        "prompt_logprobs",
        "repetition_detection",
        "repetition_penalty",
        "response_format",
        "return_mm_kwargs",
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
"""Nullable fields for which null and absence mean the same.

Not among them: ``max_tokens``. Absent it means 16; null lets vLLM write as far as the model's window goes.
"""


def identity(body: Mapping[str, Any]) -> dict[str, Any]:
    """Canonical form of a checked body of plain JSON data; the body stays as it is."""
    made = {
        name: one_number_form(value)
        for name, value in body.items()
        if name not in NEUTRAL and not (value is None and name in _NULL_IS_ABSENT)
    }
    if isinstance(made.get("stop"), str):
        made["stop"] = [made["stop"]]
    if "prompt" in made:
        made["prompt"] = as_inputs(made["prompt"])
    return made
