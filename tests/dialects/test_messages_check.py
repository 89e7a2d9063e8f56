"""What no server of the Messages protocol could take is refused, by the name of its field."""

from __future__ import annotations

from typing import Any

import pytest

from asynccache._errors import InvalidRequest
from tests.dialects._messages_wire import ASKED, MESSAGES


def refused(**fields: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        MESSAGES.check({**ASKED, **fields})
    assert "SECRET" not in str(caught.value)
    return f"{caught.value.field}: {caught.value.problem}"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("messages", None, "messages: expected a list, got NoneType"),
        ("messages", "SECRET", "messages: expected a list, got str"),
        ("messages", [], "messages: must not be empty"),
        ("messages", ["SECRET"], "messages[0]: expected a mapping, got str"),
        ("messages", [{"content": "SECRET"}], "messages[0].role: expected a string, got NoneType"),
        (
            "messages",
            [{"role": "user"}],
            "messages[0].content: expected a string or a list of blocks, got NoneType",
        ),
        (
            "messages",
            [{"role": "user", "content": ["SECRET"]}],
            "messages[0].content[0]: expected a mapping, got str",
        ),
        (
            "messages",
            [{"role": "user", "content": [{"text": "SECRET"}]}],
            "messages[0].content[0].type: expected a string, got NoneType",
        ),
        (
            "messages",
            [{"role": "user", "content": [{"type": "text", "text": 1}]}],
            "messages[0].content[0].text: expected a string, got int",
        ),
        ("max_tokens", None, "max_tokens: expected a whole number, got NoneType"),
        ("max_tokens", "SECRET", "max_tokens: expected a whole number, got str"),
        ("max_tokens", True, "max_tokens: expected a whole number, got bool"),
        ("max_tokens", 1.5, "max_tokens: expected a whole number, got float"),
        ("max_tokens", -1, "max_tokens: must not be negative, got -1"),
        ("model", 1, "model: expected a string, got int"),
        ("stream", "yes", "stream: expected true or false, got str"),
        ("system", 1, "system: expected a string or a list of blocks, got int"),
        ("system", [{"type": "text"}], "system[0].text: expected a string, got NoneType"),
        ("temperature", "SECRET", "temperature: expected a number, got str"),
        ("top_k", True, "top_k: expected a number, got bool"),
        ("top_p", float("nan"), "top_p: must be finite"),
        ("stop_sequences", "SECRET", "stop_sequences: expected a list or null, got str"),
        ("stop_sequences", [1], "stop_sequences[0]: expected a string, got int"),
        ("tools", {}, "tools: expected a list or null, got dict"),
        ("tools", ["SECRET"], "tools[0]: expected a mapping, got str"),
        ("tool_choice", "any", "tool_choice: expected a mapping, got str"),
        ("thinking", True, "thinking: expected a mapping, got bool"),
        ("output_config", [], "output_config: expected a mapping, got list"),
        ("output_format", "json", "output_format: expected a mapping, got str"),
        ("metadata", "SECRET", "metadata: expected a mapping, got str"),
        ("x", {1: 2}, "x: keys must be strings, got int"),
    ],
)
def test_a_fault_is_named_by_its_field(field: str, value: Any, words: str) -> None:
    assert refused(**{field: value}) == words


def test_a_body_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="expected a mapping, got list"):
        MESSAGES.check([])  # type: ignore[arg-type]  # callers without a type checker


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_tokens": 0},
        {"max_tokens": 16.0},
        {"model": None, "system": None, "tools": None, "stop_sequences": None, "thinking": None},
        {"system": [{"type": "text", "text": "Be brief."}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
        {"messages": ({"role": "system", "content": ({"type": "later"},)},)},
        {"unknown": [1, {"a": None}]},
    ],
)
def test_what_a_server_may_take_passes(fields: dict[str, Any]) -> None:
    MESSAGES.check({**ASKED, **fields})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"container": "container_01"}, "container is set"),
        ({"container": {"skills": []}}, "container is set"),
        ({"thread": {"type": "create"}}, "thread is set"),
        ({"kv_transfer_params": {}}, "kv_transfer_params is set"),
        ({"ec_transfer_params": {}}, "ec_transfer_params is set"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers is set"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"container": None, "thread": None, "mcp_servers": []}, None),
        ({"context_management": {"edits": []}, "tools": [{"type": "web_search_20250305"}]}, None),
    ],
)
def test_requests_about_a_servers_state_bypass_the_cache(fields: dict[str, Any], reason: str | None) -> None:
    assert MESSAGES.bypass({**ASKED, **fields}) == reason
