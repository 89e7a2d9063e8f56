"""Which text of a Messages request may be worded differently, and what must be equal beside it."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest

from asynccache._models import History
from tests.dialects._messages_wire import ASKED, MESSAGES

TEXT: Final = {"type": "text", "text": "What is this?"}
IMAGE: Final = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
CALL: Final = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
RESULT: Final = {"type": "tool_result", "tool_use_id": "1", "content": "sunny"}


def say(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def split(*messages: Any, history: History = "equal", **fields: Any) -> tuple[bytes, str | None]:
    body = orjson.loads(orjson.dumps({**ASKED, "messages": messages, **fields}))
    MESSAGES.check(body)
    context, question = MESSAGES.split(MESSAGES.identity(body), history)
    return orjson.dumps(context, option=orjson.OPT_SORT_KEYS), question


@pytest.mark.parametrize(
    ("content", "question"),
    [
        ("What is this?", "What is this?"),
        (" What is this?\n", "What is this?"),
        ([TEXT], "What is this?"),
        ([{**TEXT, "cache_control": {"type": "ephemeral"}}], "What is this?"),
        ([IMAGE, TEXT], "What is this?"),
        ([{"type": "document", "source": {"type": "file", "file_id": "a"}}, TEXT], "What is this?"),
        ([TEXT, {"type": "text", "text": " "}], "What is this?"),
        ([IMAGE, {"type": "text", "text": " "}, TEXT], "What is this?"),
        ([TEXT, TEXT], None),
        ([IMAGE], None),
        ([RESULT, TEXT], None),
        ([RESULT], None),
        ([], None),
        ("", None),
        (" \n", None),
    ],
)
def test_the_question_is_the_one_text_of_the_last_user_message(content: Any, question: str | None) -> None:
    assert split(say("user", content))[1] == question


@pytest.mark.parametrize("role", ["assistant", "system", "tool"])
def test_only_a_user_asks(role: str) -> None:
    assert split(say("user", "Hello"), say(role, "What is this?"))[1] is None


def test_a_prefilled_answer_leaves_no_question() -> None:
    assert split(say("user", "One word:"), say("assistant", "It is "))[1] is None


def test_questions_in_other_words_share_a_context() -> None:
    left = split(say("user", "How do I freeze my card?"), system="Be brief.")
    right = split(say("user", [{"type": "text", "text": "How can I freeze it?"}]), system="Be brief.")
    assert left[0] == right[0]
    assert left[1] != right[1]


@pytest.mark.parametrize(
    "fields",
    [
        {"system": "Be long."},
        {"model": "claude-example-2"},
        {"max_tokens": 16},
        {"temperature": 0},
        {"tools": [{"name": "f", "input_schema": {}}]},
        {"thinking": {"type": "adaptive"}},
        {"output_config": {"effort": "low"}},
        {"stop_sequences": ["x"]},
        {"unknown": 1},
    ],
)
def test_a_difference_beside_the_question_is_another_context(fields: dict[str, Any]) -> None:
    assert split(say("user", "Hello"), **fields)[0] != split(say("user", "Hello"))[0]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([TEXT], [IMAGE, TEXT]),
        ([IMAGE, TEXT], [TEXT, IMAGE]),
        ([IMAGE, TEXT], [{**IMAGE, "source": {"type": "url", "url": "https://example.org/b.png"}}, TEXT]),
        ([TEXT], [{**TEXT, "citations": []}]),
    ],
)
def test_the_rest_of_the_message_is_in_the_context(left: Any, right: Any) -> None:
    assert split(say("user", left))[0] != split(say("user", right))[0]


def test_the_history_is_in_the_context() -> None:
    first = split(say("user", "Hi"), say("assistant", "Hello"), say("user", "Who are you?"))
    other = split(say("user", "Hi"), say("assistant", "Howdy"), say("user", "Who are you?"))
    assert first[0] != other[0]


EARLIER: Final = [
    say("user", "Hi"),
    say("assistant", "Hello"),
    say("user", "Go on."),
    say("assistant", "No."),
]


@pytest.mark.parametrize(
    ("history", "changed", "shared"),
    [
        ("equal", 0, False),
        ("ignore", 0, True),
        ("ignore", 3, True),
        (2, 1, True),
        (2, 2, False),
        (4, 0, False),
    ],
)
def test_a_history_mode_says_which_messages_must_be_equal(
    history: History, changed: int, *, shared: bool
) -> None:
    other = [say(message["role"], "x") if n == changed else message for n, message in enumerate(EARLIER)]
    contexts = [split(*before, say("user", "Why?"), history=history)[0] for before in (EARLIER, other)]
    assert (contexts[0] == contexts[1]) is shared


def test_no_two_history_modes_share_a_context() -> None:
    modes: list[History] = ["equal", "ignore", 1, 2]
    assert len({split(say("user", "Why?"), history=history)[0] for history in modes}) == len(modes)


def test_instructions_are_held_whatever_the_mode() -> None:
    contexts = [
        split(say("system", words), *EARLIER, say("user", "Why?"), history="ignore")[0]
        for words in ("Be brief.", "Be long.")
    ]
    assert contexts[0] != contexts[1]


def test_what_was_sent_ahead_of_the_question_belongs_to_its_turn() -> None:
    contexts = [
        split(*EARLIER, say("user", [document]), say("user", "Why?"), history="ignore")[0]
        for document in (IMAGE, {**IMAGE, "source": {}})
    ]
    assert contexts[0] != contexts[1]


@pytest.mark.parametrize("kind", ["tool_result", "web_search_tool_result"])
def test_held_messages_about_tools_leave_no_question(kind: str) -> None:
    tools = [say("assistant", [CALL]), say("user", [{**RESULT, "type": kind}])]
    assert split(*tools, say("assistant", "Sunny."), say("user", "Why?"))[1] == "Why?"
    assert split(*tools, say("assistant", "Sunny."), say("user", "Why?"), history="ignore")[1] == "Why?"
    assert split(*tools, say("assistant", "Sunny."), say("user", "Why?"), history=2)[1] is None
    assert split(*tools, say("user", "Why?"), history="ignore")[1] is None
