"""The door of the text-completions dialect."""

from __future__ import annotations

from typing import Any, Final

import pytest

from asynccache._errors import InvalidRequest
from asynccache._registry import find_dialect

COMPLETIONS: Final = find_dialect("completions")
ONE: Final[dict[str, Any]] = {"prompt": "Once"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "body"),
        (dict[Any, Any](ONE) | {1: 2}, "body"),
        ({**ONE, "x": {"y": [float("nan")]}}, "x.y[0]"),
        ({"prompt": 1}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": {"text": "Once"}}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt[1]"),
        ({"prompt": [1, "a"]}, "prompt[1]"),
        ({"prompt": [1, True]}, "prompt[1]"),
        ({"prompt": [1.5]}, "prompt[0]"),
        ({"prompt": [{}]}, "prompt[0]"),
        ({"prompt": [[1], "a"]}, "prompt[1]"),
        ({"prompt": [[1], ["a"]]}, "prompt[1][0]"),
        ({**ONE, "model": 4}, "model"),
        ({**ONE, "suffix": 4}, "suffix"),
        ({**ONE, "stream": 1}, "stream"),
        ({**ONE, "echo": "yes"}, "echo"),
        ({**ONE, "stream_options": []}, "stream_options"),
        ({**ONE, "n": 0}, "n"),
        ({**ONE, "best_of": 1.5}, "best_of"),
        ({**ONE, "logprobs": True}, "logprobs"),
        ({**ONE, "temperature": "0"}, "temperature"),
        ({**ONE, "max_tokens": -1}, "max_tokens"),
        ({**ONE, "max_tokens": 1.5}, "max_tokens"),
        ({**ONE, "stop": 1}, "stop"),
        ({**ONE, "stop": ["a", 1]}, "stop[1]"),
    ],
)
def test_what_no_server_could_take_is_refused_by_name(body: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        COMPLETIONS.check(body)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": None},
        {"prompt": ""},
        {"prompt": ["a", "b"]},
        {"prompt": [1, 2.0]},
        {"prompt": [[1, 2], [3]]},
        {"prompt": ("a", "b")},
        {"prompt_embeds": "AAAA"},
        {**ONE, "max_tokens": 0, "echo": True, "logprobs": 5},
        {**ONE, "n": 2.0, "best_of": 3, "suffix": "end", "stop": ["a"], "stream": True},
        {**ONE, "unknown": {"deep": [1]}},
    ],
)
def test_what_some_server_could_take_passes(body: dict[str, Any]) -> None:
    COMPLETIONS.check(body)


@pytest.mark.parametrize("name", ["kv_transfer_params", "ec_transfer_params"])
def test_a_request_that_hands_over_state_bypasses_the_cache(name: str) -> None:
    assert COMPLETIONS.bypass({**ONE, name: {"a": 1}}) == f"{name} is set"
    assert COMPLETIONS.bypass({**ONE, name: None}) is None
