"""The door: what no text-completions server could take is refused before anything is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asynccache.dialects._checks import (
    check_body,
    check_count,
    check_kind,
    check_limit,
    check_numbers,
    check_stop,
)
from asynccache.dialects._inputs import check_inputs

__all__ = ["check"]

_NUMBERS: Final = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "length_penalty",
    "seed",
    "logprobs",
)
_COUNTS: Final = ("n", "best_of")


def check(body: Any) -> None:
    """Raise InvalidRequest, naming the field, for the first fault."""
    check_body(body)
    if body.get("prompt") is not None:  # without one OpenAI begins a new document, and vLLM takes embeddings
        check_inputs("prompt", body["prompt"])
    check_kind(body, "model", str, "a string")
    check_kind(body, "suffix", str, "a string")
    check_kind(body, "stream", bool, "true or false")
    check_kind(body, "echo", bool, "true or false")
    check_kind(body, "stream_options", Mapping, "a mapping")
    check_numbers(body, _NUMBERS)
    for name in _COUNTS:
        if body.get(name) is not None:
            check_count(name, body[name])
    if body.get("max_tokens") is not None:  # with echo, 0 asks for the prompt's own log probabilities
        check_limit("max_tokens", body["max_tokens"])
    check_stop(body.get("stop"))
