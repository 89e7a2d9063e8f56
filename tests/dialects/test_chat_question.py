"""Which text of a chat request another may word differently, and what must be equal beside it."""

from __future__ import annotations

import copy
from itertools import combinations
from typing import Any, Final

import orjson
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from asynccache._errors import InvalidRequest
from asynccache._models import History
from asynccache.dialects import ChatCompletions

CHAT: Final = ChatCompletions()
SLOT: Final = "the question stands here"
MODES: Final[list[History]] = ["equal", 1, 2, 3, 50, "ignore"]
CUTTING: Final[list[History]] = [1, 2, 3, 50, "ignore"]


def identity(body: dict[str, Any]) -> dict[str, Any]:
    plain = orjson.loads(orjson.dumps(body))
    CHAT.check(plain)
    return CHAT.identity(plain)


def spelled(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    """Whether two bodies are one request; tests/dialects/test_chat_sameness.py shows that this tells."""
    return spelled(identity(left)) == spelled(identity(right))


def split(body: dict[str, Any], history: History = "equal") -> tuple[bytes, str | None]:
    context, question = CHAT.split(identity(body), history)
    return spelled(context), question


def context(body: dict[str, Any], history: History = "equal") -> bytes:
    found, question = split(body, history)
    assert question is not None
    return found


def worded(body: dict[str, Any], text: str) -> dict[str, Any]:
    """The body with ``text`` where the slot is."""
    made: dict[str, Any] = orjson.loads(orjson.dumps(body).replace(orjson.dumps(SLOT), orjson.dumps(text)))
    return made


def user(content: Any = SLOT, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **fields}


def says(role: str, content: Any = "a", **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


def text(words: str = SLOT, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **fields}


def image(data: str = "AAAA", **fields: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}", **fields}}


FILE: Final = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}
SOUND: Final = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
CALL: Final = says("assistant", None, tool_calls=[{"id": "1", "function": {"name": "f", "arguments": "{}"}}])
RESULT: Final = says("tool", "4", tool_call_id="1")
OLD_CALL: Final = says("assistant", None, function_call={"name": "f", "arguments": "{}"})
OLD_RESULT: Final = says("function", "4", name="f")


def talk(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages), **fields}


# --- The question.


@pytest.mark.parametrize(
    "content",
    [
        SLOT,
        [text()],
        [text(cache_control={"type": "ephemeral"})],
        [text(), image()],
        [image(), text()],
        [image(), text(), FILE, SOUND],
        [text(""), image(), text(" \n"), text()],
        [{"type": "input_text", "text": "another"}, text()],
    ],
)
@pytest.mark.parametrize("history", MODES)
def test_the_question_is_the_one_text_of_the_last_user_message(content: Any, history: History) -> None:
    body = talk(says("system"), user(content, name="Ann"))
    red, blue = (split(worded(body, words), history) for words in ("what is red?", "and what is sky blue?"))
    assert red[1] == "what is red?"
    assert blue[1] == "and what is sky blue?"
    assert red[0] == blue[0]


def test_the_question_has_the_normal_form_that_is_keyed() -> None:
    assert split(talk(user(" cafe\u0301\r\n")))[1] == "caf\u00e9"


@pytest.mark.parametrize(
    "body",
    [
        talk(user(), says("assistant")),
        talk(user(), says("assistant", "So: "), continue_final_message=True),
        talk(user(), says("system")),
        talk(user(), RESULT),
        talk(says("system", SLOT)),
        talk(user("")),
        talk(user(" \n")),
        talk(says("user", None)),
        talk(user([])),
        talk(user([image()])),
        talk(user([text(" "), image()])),
        talk(user([text(), text("b")])),
        talk(user([text(), image(), text("b")])),
        talk(user([{"type": "input_audio", "text": SLOT}])),
        talk(user(), continue_final_message=True),
        talk(user(), add_generation_prompt=False),
        talk(user(), echo=True),
        talk(user(), prompt_logprobs=0),
        talk(user(), return_prompt_text=True),
        talk(user(), return_token_ids=True),
        talk(user(), routed_experts_prompt_start=0),
    ],
)
@pytest.mark.parametrize("history", MODES)
def test_a_request_without_one_text_to_compare_has_no_question(
    body: dict[str, Any], history: History
) -> None:
    found, question = split(body, history)
    assert question is None
    assert found == spelled(identity(body) if history == "equal" else [history, identity(body)])


def test_a_field_that_would_repeat_the_question_may_be_switched_off() -> None:
    off = talk(
        user(),
        continue_final_message=False,
        add_generation_prompt=True,
        echo=False,
        prompt_logprobs=None,
        return_prompt_text=None,
        return_token_ids=False,
        routed_experts_prompt_start=None,
    )
    assert split(off)[1] == SLOT


# --- The law: another wording and nothing else.

DIFFERENT: Final = [
    talk(user()),
    talk(user(name="Ann")),
    talk(user([text()])),
    talk(user([text(cache_control={"type": "ephemeral"})])),
    talk(user([text(), text("")])),
    talk(user([text(), image()])),
    talk(user([image(), text()])),
    talk(user([text(), image("AAAB")])),
    talk(user([text(), image(detail="high")])),
    talk(user([text(), image(), image()])),
    talk(user([text(), image(), image("AAAB")])),
    talk(user([text(), image("AAAB"), image()])),
    talk(user([image(), text(), image("AAAB")])),
    talk(user([text(), FILE])),
    talk(user([text(), SOUND])),
    talk(says("system"), user()),
    talk(says("developer"), user()),
    talk(says("system", "b"), user()),
    talk(says("system"), says("system", "b"), user()),
    talk(says("system", "b"), says("system"), user()),
    talk(user(), model="n"),
    talk(user(), temperature=0),
    talk(user(), tools=[{"type": "function", "function": {"name": "f"}}]),
    talk(user(), response_format={"type": "json_object"}),
    talk(user(), unknown=1),
    talk(user(), history=1),
]
SPOKEN: Final = [
    talk(user(), says("assistant"), user()),
    talk(user(), says("assistant", "b"), user()),
    talk(user("b"), says("assistant"), user()),
    talk(says("assistant"), user()),
    talk(user("b"), user()),
]


@pytest.mark.parametrize("history", MODES)
def test_what_is_beside_the_wording_keeps_contexts_apart(history: History) -> None:
    assert len({context(body, history) for body in DIFFERENT}) == len(DIFFERENT)


def test_the_whole_conversation_must_be_equal_by_default() -> None:
    assert len({context(body) for body in (*DIFFERENT, *SPOKEN)}) == len(DIFFERENT) + len(SPOKEN)


json = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, 1, 0.5, "", "a"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
    max_leaves=3,
)
words = st.sampled_from(["", " ", "a", "b", "a longer text"])
materials = st.sampled_from([image(), image("AAAB"), FILE, SOUND, text(""), {"type": "b", "text": "a"}])
contents = st.just(SLOT) | st.builds(
    lambda before, part, after: [*before, part, *after],
    st.lists(materials, max_size=2),
    st.sampled_from([text(), text(a=1)]),
    st.lists(materials, max_size=2),
)
asking = st.fixed_dictionaries({"role": st.just("user"), "content": contents}, optional={"name": words})
saying = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "bot"])},
    optional={
        "content": st.none() | words | st.lists(materials, max_size=2),
        "name": words,
        "unknown": json,
    },
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "model": words,
        "temperature": st.sampled_from([None, 0, 1.0]),
        "tools": st.none() | st.lists(st.dictionaries(st.just("a"), json), max_size=1),
        "response_format": json,
        "unknown": json,
        "stop": st.none() | words,
    },
)
anything = saying | st.sampled_from([CALL, RESULT, OLD_CALL, OLD_RESULT])
bodies = st.builds(
    lambda earlier, last, rest: {**rest, "messages": [*earlier, last]},
    st.lists(anything, max_size=4),
    asking,
    fields,
)
modes = st.sampled_from(MODES)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for name, item in items for found in places(item, (*path, name)))]


@st.composite
def neighbours(draw: st.DrawFn, made: Any = bodies) -> tuple[dict[str, Any], dict[str, Any]]:
    """A body with a question, and a copy with one change at one place."""
    body = draw(made)
    changed = copy.deepcopy(body)
    *way, key = draw(st.sampled_from(places(changed)[1:]))
    holder: Any = changed
    for step in way:
        holder = holder[step]
    match draw(st.sampled_from(["replace", "remove", "repeat", "add"])):
        case "replace":
            holder[key] = draw(anything if way == ["messages"] else json)
        case "remove":
            del holder[key]
        case "repeat" if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case _ if isinstance(holder, list):
            holder.reverse()
        case _:
            holder[draw(st.sampled_from(["a", "name", "stop", "content", "tool_calls"]))] = draw(json)
    try:
        CHAT.check(changed)
    except InvalidRequest:
        assume(False)
    return body, changed


@given(neighbours())
def test_any_change_beside_the_wording_changes_the_context(
    pair: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    left, right = (split(body) for body in pair)
    assert left[1] == SLOT
    assume(right[1] in (SLOT, None))  # else the wording was changed as well
    event(f"{'same' if same(*pair) else 'different'}, {'a' if right[1] else 'no'} question")
    assert (left[0] == right[0]) is same(*pair)


wordings = st.text(min_size=1).filter(str.strip)


@given(bodies, wordings, wordings, modes)
def test_another_wording_has_another_key_and_the_same_context(
    body: dict[str, Any], one: str, other: str, history: History
) -> None:
    left, right = worded(body, one), worded(body, other)
    assume(split(body, history)[1] is not None)
    (ours, asked), (theirs, asked_too) = split(left, history), split(right, history)
    assert asked is not None
    assert ours == theirs
    assert same(left, right) is (asked == asked_too)


@given(bodies, bodies, st.sampled_from(list(combinations(MODES, 2))))
def test_two_history_modes_never_share_a_context(
    left: dict[str, Any], right: dict[str, Any], pair: tuple[History, History]
) -> None:
    for other in (left, right):
        assert split(left, pair[0])[0] != split(other, pair[1])[0]


@given(bodies)
def test_no_context_of_a_question_is_the_context_of_a_request_without_one(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):  # so no request's identity can read like it
        CHAT.check(orjson.loads(context(body)))


# --- History.


def remembered(messages: list[dict[str, Any]], last: int) -> list[dict[str, Any]]:
    """From the question backwards: every instruction, and the others as long as they count."""
    found = []
    for message in reversed(messages):
        if message["role"] in ("system", "developer"):
            found.append(message)
        elif last > 0:
            found.append(message)
            last -= 1
    return found[::-1]


@st.composite
def talks(draw: st.DrawFn) -> dict[str, Any]:
    """A conversation without tools; what stands before the question, instructions aside, is an answer."""
    said = draw(st.lists(saying, max_size=5))
    closing = draw(st.lists(st.sampled_from([says("system"), says("developer", "b")]), max_size=1))
    answer = [says("assistant", draw(words))] if said else []
    return {**draw(fields), "messages": [*said, *answer, *closing, draw(asking)]}


@given(st.tuples(talks(), talks()) | neighbours(talks()), st.sampled_from([0, 1, 2, 3, 50]))
def test_only_the_instructions_and_the_last_messages_are_held(
    pair: tuple[dict[str, Any], dict[str, Any]], last: int
) -> None:
    cut = []
    for body in pair:
        *earlier, question = body["messages"]
        others = [message for message in earlier if message["role"] not in ("system", "developer")]
        assume(not others or others[-1]["role"] == "assistant")
        assume(not any(message.get("tool_calls") for message in earlier))
        cut.append({**body, "messages": [*remembered(earlier, last), question]})
    left, right = (split(body, last or "ignore") for body in pair)
    assert left[1] == SLOT
    assume(right[1] == SLOT)
    event(f"{'cut' if cut != list(pair) else 'whole'}, {'same' if same(*cut) else 'different'}")
    assert (left[0] == right[0]) is same(*cut)


def test_what_is_cut_away_may_differ_and_instructions_may_not() -> None:
    def after(*said: dict[str, Any], instruction: str = "be brief") -> dict[str, Any]:
        return talk(*said, says("system", instruction), user("b"), says("assistant", "c"), user())

    ours, theirs = after(user("x"), says("assistant", "y")), after(user("z"), says("assistant"))
    assert context(ours, 2) == context(theirs, 2) == context(after(), 2)
    assert context(ours, 3) != context(theirs, 3)
    assert context(ours, 1) != context(after(instruction="be verbose"), 1)
    assert context(ours, "ignore") == context(talk(says("system", "be brief"), user()), "ignore")
    assert context(ours, "ignore") != context(talk(user()), "ignore")


def test_where_an_instruction_stands_among_what_is_held_counts() -> None:
    said = [user("b"), says("assistant", "c")]
    before, after = talk(says("system"), *said, user()), talk(*said, says("system"), user())
    assert context(before, 2) != context(after, 2)
    assert context(before, "ignore") == context(after, "ignore")


def test_a_history_shorter_than_what_is_held_is_held_whole() -> None:
    bodies = [talk(user("x"), says("assistant", answer), user()) for answer in "yz"]
    assert context(bodies[0], 50) != context(bodies[1], 50)


@pytest.mark.parametrize("history", CUTTING)
@pytest.mark.parametrize("begun", [[], [user("x"), says("assistant", "y")]])
@pytest.mark.parametrize("between", [[], [says("system")]])
def test_what_was_said_since_the_last_answer_is_never_cut_away(
    history: History, begun: list[Any], between: list[Any]
) -> None:
    ours, theirs = (talk(*begun, user(document), *between, user()) for document in ("one", "another"))
    assert context(ours, history) != context(theirs, history)
    pictured = [talk(*begun, user([image(data)]), user("b"), user()) for data in ("AAAA", "AAAB")]
    assert context(pictured[0], history) != context(pictured[1], history)


# --- Tools.

EXCHANGES: Final = [
    [CALL, RESULT],
    [OLD_CALL, OLD_RESULT],
    [CALL, RESULT, RESULT],
    [CALL],
    [OLD_CALL],
    [RESULT],
]


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("closing", [[], [says("assistant", "It is 4.")]])
def test_after_equal_work_of_tools_only_the_wording_may_differ(
    exchange: list[dict[str, Any]], closing: list[dict[str, Any]]
) -> None:
    body = talk(user("b"), *exchange, *closing, user())
    assert split(body)[1] == SLOT
    assert context(worded(body, "so?")) == context(worded(body, "what does it mean?"))
    for place, message in enumerate(exchange, 1):
        other = copy.deepcopy(body)
        other["messages"][place] = {**message, "content": "5"}
        assert context(other) != context(body)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_cut_through_the_work_of_tools_leaves_no_question(exchange: list[dict[str, Any]]) -> None:
    done = talk(user("b"), *exchange, says("assistant", "It is 4."), user())
    assert [split(done, history)[1] for history in (2, 3, 50)] == [None] * 3
    assert [split(done, history)[1] for history in (1, "ignore")] == [SLOT] * 2


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("history", CUTTING)
def test_tools_still_at_work_leave_no_question_to_a_cut_conversation(
    exchange: list[dict[str, Any]], history: History
) -> None:
    assert split(talk(user("b"), *exchange, user()), history)[1] is None
    assert split(talk(user("b"), *exchange, says("system"), user()), history)[1] is None


def test_work_of_tools_long_ago_is_cut_away_like_any_other() -> None:
    late = [user("x"), says("assistant", "y"), user()]
    assert context(talk(user("b"), CALL, RESULT, says("assistant"), *late), 2) == context(talk(*late), 2)


def test_tools_that_may_be_called_are_part_of_the_context() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in "fg"]
    assert context(talk(user(), tools=tools[:1])) != context(talk(user(), tools=tools[1:]))
