"""Which text of a Responses request may be worded differently, and which requests leave the cache alone."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest

from asynccache.dialects.responses import Responses

RESPONSES: Final = Responses()
CALL: Final = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
RESULT: Final = {"type": "function_call_output", "call_id": "c", "output": "1"}
THOUGHT: Final = {"type": "reasoning", "id": "rs_1", "summary": []}
IMAGE: Final = {"type": "input_image", "image_url": "u", "detail": "auto"}


def say(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


def text(words: str) -> dict[str, Any]:
    return {"type": "input_text", "text": words}


def split(items: Any, history: Any = "equal", **fields: Any) -> tuple[bytes, str | None]:
    body = orjson.loads(orjson.dumps({"input": items, **fields}))
    RESPONSES.check(body)
    context, question = RESPONSES.split(RESPONSES.identity(body), history)
    return orjson.dumps(context, option=orjson.OPT_SORT_KEYS), question


@pytest.mark.parametrize(
    "items",
    [
        "why?",
        [say("user", "why?")],
        [say("user", [text("why?")])],
        [say("user", [IMAGE, text("why?")])],
        [say("system", "be brief"), say("user", "how?"), say("assistant", "so"), say("user", "why?")],
        [say("user", "f?"), CALL, RESULT, say("assistant", "1"), say("user", "why?")],
    ],
)
def test_the_question_is_the_text_of_the_last_user_message(items: Any) -> None:
    assert split(items)[1] == "why?"


@pytest.mark.parametrize(
    "items",
    [
        "",
        " ",
        [say("assistant", "why?")],
        [say("developer", "why?")],
        [say("user", "why?"), RESULT],
        [say("user", "why?"), THOUGHT],
        [say("user", [text("a document"), text("why?")])],
        [say("user", [IMAGE])],
        None,
    ],
)
def test_a_request_without_one_such_text_has_no_question(items: Any) -> None:
    assert split(items, prompt={"id": "p", "version": "1"})[1] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"moderation": {"model": "omni"}},
        {"enable_response_messages": True},
        {"tools": [{"type": "a_new_kind"}]},
        {"tools": [{"type": "function", "name": "f"}, {"type": "mcp", "server_label": "s"}]},
        {"tools": [{}]},
    ],
)
def test_what_ties_the_answer_to_the_very_words_leaves_no_question(fields: dict[str, Any]) -> None:
    assert split("why?", **fields)[1] is None


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "name": "f", "parameters": {}},
        {"type": "custom", "name": "f"},
        {"type": "namespace", "name": "n", "tools": []},
        {"type": "file_search", "vector_store_ids": ["v"]},
        {"type": "web_search"},
        {"type": "web_search_preview_2025_03_11"},
        {"type": "image_generation"},
    ],
)
def test_tools_that_only_find_something_or_are_handed_to_the_caller_leave_a_question(
    tool: dict[str, Any],
) -> None:
    assert split("why?", tools=[tool])[1] == "why?"
    assert split("why?", tools=[tool])[0] != split("why?")[0]


def test_the_context_is_all_but_the_words_of_the_question() -> None:
    items = [say("system", "be brief"), say("user", "how?"), say("assistant", "so")]
    asked = split([*items, say("user", "why?")])
    assert split([*items, say("user", "for what reason?")])[0] == asked[0]
    assert split([*items, say("user", [IMAGE, text("why?")])])[0] != asked[0]
    assert split([*items[1:], say("user", "why?")])[0] != asked[0]
    assert split([*items, say("user", "why?")], model="other")[0] != asked[0]
    assert split([*items, say("user", "why?")], instructions="rhyme")[0] != asked[0]


def test_a_context_is_never_that_of_a_request_whose_text_looks_like_the_blank() -> None:
    assert split("why?")[0] != split([say("assistant", "why?")])[0]


@pytest.mark.parametrize("history", ["ignore", 1])
def test_a_shorter_history_forgets_what_was_said_before(history: Any) -> None:
    last = say("user", "why?")
    context, question = split([say("system", "s"), say("user", "a"), say("assistant", "b"), last], history)
    other = split([say("system", "s"), say("user", "c"), say("assistant", "b"), last], history)
    assert question == other[1] == "why?"
    assert context == other[0]
    assert split([say("user", "a"), say("assistant", "b"), last], history)[0] != context
    assert split([say("system", "s"), say("user", "a"), say("assistant", "b"), last])[0] != context


def test_no_two_history_modes_share_a_context() -> None:
    assert len({split("why?", history)[0] for history in ("equal", "ignore", 1, 2)}) == 4


def test_a_history_cut_within_the_work_of_tools_leaves_no_question() -> None:
    items = [say("user", "f?"), CALL, RESULT, say("assistant", "1"), say("user", "why?")]
    assert split(items, 1)[1] == "why?"
    assert split(items, 2)[1] is None
    assert split([say("user", "f?"), CALL, RESULT, say("user", "why?")], "ignore")[1] is None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"conversation": "conv_1"}, "conversation is set"),
        ({"previous_response_id": "resp_1"}, "previous_response_id is set"),
        ({"kv_transfer_params": {}}, "kv_transfer_params is set"),
        ({"ec_transfer_params": {}}, "ec_transfer_params is set"),
        ({"background": True}, "background is set"),
        ({"prompt": {"id": "p"}}, "prompt has no version"),
        ({"prompt_cache_options": {"prewarm": True}}, "prompt_cache_options.prewarm is set"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "an input item is a reference"),
        ({"input": [{"id": "msg_1"}]}, "an input item is a reference"),
        ({"tools": [{"type": "mcp", "server_label": "s"}]}, "the tool mcp acts"),
        ({"tools": [{"type": "code_interpreter", "container": {}}]}, "the tool code_interpreter acts"),
        ({"tools": [{"type": "computer_use_preview"}]}, "the tool computer_use_preview acts"),
        ({"tools": [{"type": "shell"}]}, "the tool shell acts"),
        ({"tools": [{"type": "local_shell"}]}, "the tool local_shell acts"),
        ({"tools": [{"type": "apply_patch"}]}, "the tool apply_patch acts"),
        ({"input": [{"type": "additional_tools", "tools": [{"type": "mcp"}]}]}, "the tool mcp acts"),
    ],
)
def test_what_a_cache_must_leave_alone_passes_it_by(fields: dict[str, Any], reason: str) -> None:
    body = {"input": "why?", **fields}
    RESPONSES.check(body)
    assert RESPONSES.bypass(body) == reason


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"background": False, "conversation": None, "previous_response_id": None},
        {"prompt": {"id": "p", "version": "2"}},
        {"prompt_cache_options": {"mode": "implicit"}},
        {"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]},
        {"input": [say("user", "f?"), CALL, RESULT]},
    ],
)
def test_all_else_may_be_cached(fields: dict[str, Any]) -> None:
    assert RESPONSES.bypass({"input": "why?", **fields}) is None
