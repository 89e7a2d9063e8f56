"""What makes two embeddings requests the same: every field except the neutral ones, in one spelling.

The default is to tell requests apart; ``encoding_format`` too, which is how the answer is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asynccache.dialects._chat_identity import NEUTRAL
from asynccache.dialects._forms import one_number_form
from asynccache.dialects._inputs import as_inputs

__all__ = ["identity"]

_NULL_IS_ABSENT: Final = frozenset(
    {
        # OpenAI
        "dimensions",
        "encoding_format",
        "input",
        "model",
        # vLLM
        "cache_salt",
        "chat_template",
        "chat_template_kwargs",
        "messages",
        "mm_processor_kwargs",
        "truncate_prompt_tokens",
        "use_activation",
    }
)
"""Nullable fields for which null and absence mean the same."""


def identity(body: Mapping[str, Any]) -> dict[str, Any]:
    """Canonical form of a checked body of plain JSON data; the body stays as it is."""
    made = {
        name: one_number_form(value)
        for name, value in body.items()
        if name not in NEUTRAL and not (value is None and name in _NULL_IS_ABSENT)
    }
    if "input" in made:
        made["input"] = as_inputs(made["input"])
    return made
