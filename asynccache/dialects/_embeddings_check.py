"""The door: what no embeddings server could take is refused before anything is looked up."""

from __future__ import annotations

from typing import Any

from asynccache._errors import InvalidRequest
from asynccache.dialects._checks import check_body, check_count, check_kind, mismatch
from asynccache.dialects._inputs import check_inputs

__all__ = ["NOT_STREAMED", "check"]

NOT_STREAMED = "embeddings are not streamed; fetch them"


def check(body: Any) -> None:
    """Raise InvalidRequest, naming the field, for the first fault."""
    check_body(body)
    if body.get("messages") is not None and body.get("input") is None:  # vLLM embeds a conversation
        if not isinstance(body["messages"], (list, tuple)) or not body["messages"]:
            raise InvalidRequest("messages", "expected a list with something in it")
    elif body.get("input") is None:
        raise mismatch("input", "a string, a list of strings or tokens", body.get("input"))
    else:
        check_inputs("input", body["input"])
    check_kind(body, "model", str, "a string")
    check_kind(body, "encoding_format", str, "a string")
    check_kind(body, "stream", bool, "true or false")
    if body.get("stream"):
        raise InvalidRequest("stream", NOT_STREAMED)
    if body.get("dimensions") is not None:
        check_count("dimensions", body["dimensions"])
