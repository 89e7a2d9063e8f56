"""Keys: complete, scoped, collision-free. (What a dialect makes equal is tested with the dialect.)"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel

from asynccache import ConfigurationError, Control, InvalidRequest, Request, Scope
from asynccache._keys import Fingerprint, Keyring, parse_history, to_json
from asynccache._models import NO_SCOPE

MESSAGE = {"role": "user", "content": "hello"}
BODY = {"model": "m", "messages": [MESSAGE], "temperature": 0}


def fingerprint(
    body: Any = None, *, keyring: Keyring | None = None, dialect: str = "chat.completions", **scope: Any
) -> Fingerprint:
    control = Control(version=scope.pop("version", None))
    request = Request(
        body=BODY if body is None else body, dialect=dialect, scope=Scope(**scope), control=control
    )
    return (keyring or Keyring(max_request_bytes=2**20)).fingerprint(request)


def test_a_key_and_a_partition_are_32_bytes_and_differ() -> None:
    made = fingerprint()
    assert (len(made.key), len(made.partition)) == (32, 32)
    assert made.key != made.partition
    assert made.question == "hello"


def test_keys_are_the_same_in_every_process() -> None:
    # Changing this key makes every stored entry of every user unreachable: bump FORMAT and say so.
    assert fingerprint().key.hex() == "5ced253605e0fe4650f977a01cc972e43c9cbe08767089a0d531aadf4393431e"


names = st.none() | st.text(max_size=3)
owners = st.tuples(names, names, names, names)


@given(owners, owners)
def test_two_owners_share_a_key_only_when_they_are_equal(one: Any, other: Any) -> None:
    fields = ("tenant", "user", "namespace", "version")
    first = fingerprint(**dict(zip(fields, one, strict=True)))
    second = fingerprint(**dict(zip(fields, other, strict=True)))
    assert (first.key == second.key) == (one == other)
    assert (first.partition == second.partition) == (one == other)


def test_only_the_question_may_differ_within_a_partition() -> None:
    def asking(text: str, **rest: Any) -> Fingerprint:
        return fingerprint({**BODY, "messages": [{"role": "user", "content": text}], **rest})

    assert asking("a").partition == asking("b").partition
    assert asking("a").key != asking("b").key
    assert asking("a").partition != asking("a", temperature=1).partition
    assert asking("a").partition != asking("a", model="n").partition


TALK: dict[str, Any] = {
    **BODY,
    "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "what now?"},
    ],
}
SPELLINGS = ["equal", "last:1", "last:2", "last:9999", "ignore"]


def keyrings() -> list[Keyring]:
    return [Keyring(max_request_bytes=2**20, history=each) for each in SPELLINGS]


def test_the_key_holds_the_whole_conversation_whatever_the_history() -> None:
    other = {**TALK, "messages": [{"role": "user", "content": "hey"}, *TALK["messages"][1:]]}
    whole, foreign = fingerprint(TALK), fingerprint(other)
    assert whole.key != foreign.key
    for keyring in keyrings():
        assert fingerprint(TALK, keyring=keyring).key == whole.key
        assert fingerprint(TALK, keyring=keyring).question == "what now?"
    partitions = [fingerprint(body, keyring=keyrings()[1]).partition for body in (TALK, other)]
    assert partitions[0] == partitions[1]


@pytest.mark.parametrize("body", [BODY, TALK, {"messages": [{"role": "assistant", "content": "So:"}]}])
def test_no_two_histories_share_a_partition(body: Any) -> None:
    assert len({fingerprint(body, keyring=keyring).partition for keyring in keyrings()}) == len(SPELLINGS)


@given(owners, owners, st.sampled_from(keyrings()))
def test_no_history_lets_two_owners_share_a_partition(one: Any, other: Any, keyring: Keyring) -> None:
    fields = ("tenant", "user", "namespace", "version")
    first, second = (
        fingerprint(TALK, keyring=keyring, **dict(zip(fields, owner, strict=True))) for owner in (one, other)
    )
    assert (first.partition == second.partition) == (one == other)


def test_another_picture_is_another_partition() -> None:
    def looking(data: str, words: str) -> Fingerprint:
        picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
        content = [{"type": "text", "text": words}, picture]
        return fingerprint({**BODY, "messages": [{"role": "user", "content": content}]})

    cat, dog = looking("AAAA", "what is it?"), looking("AAAB", "what is it?")
    assert cat.question == dog.question == "what is it?"
    assert cat.partition != dog.partition
    assert cat.partition == looking("AAAA", "what do you see?").partition


def test_a_large_body_made_in_a_thread_has_the_fingerprint_of_the_loop() -> None:
    body = {**TALK, "extra": "x" * 100_000}
    for keyring in keyrings():
        deferred = keyring.defer(Request(body=body))
        assert deferred is not None
        assert deferred() == fingerprint(body, keyring=keyring)
    assert Keyring(max_request_bytes=2**20).defer(Request(body=TALK)) is None


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_was_recalled_is_what_was_made(spelling: str) -> None:
    keyring = Keyring(max_request_bytes=2**20, history=spelling)
    request = Request(body=TALK)
    spelt = request.dialect, request.scope, request.body
    assert keyring.recall(*spelt) is None
    assert keyring.fingerprint(request) == keyring.recall(*spelt)
    assert keyring.recall(*spelt) == fingerprint(
        TALK, keyring=Keyring(max_request_bytes=2**20, history=spelling)
    )


@pytest.mark.parametrize(
    ("spelling", "history"),
    [("equal", "equal"), ("ignore", "ignore"), ("last:1", 1), ("last:30", 30), ("last:9999", 9999), (1, 1)],
)
def test_a_history_is_read_from_its_spelling(spelling: Any, history: Any) -> None:
    assert parse_history(spelling) == history
    assert parse_history(history) == history


@pytest.mark.parametrize(
    "spelling",
    [
        None, True, False, 0, -1, 10_000, 1.0, [], "", "Equal", "equal ", "last", "last:", "last:0",
        "last:-1", "last:03", "last: 3", "last:3 ", "last:3\n", "last:1.0", "last:\u0663", "last:10000",
        "3", "last:n",
    ],
)  # fmt: skip
def test_what_is_no_history_is_refused_by_name(spelling: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^history=.*'equal', 'ignore' or 'last:n'"):
        Keyring(max_request_bytes=1, history=spelling)


def test_the_memo_gives_what_a_fresh_keyring_gives() -> None:
    keyring = Keyring(max_request_bytes=2**20)
    bodies = [{**BODY, "seed": seed} for seed in range(50)]
    first = [fingerprint(body, keyring=keyring) for body in bodies]
    assert [fingerprint(dict(reversed(body.items())), keyring=keyring) for body in bodies] == first
    assert [fingerprint(body) for body in bodies] == first


def test_the_memo_confuses_no_owners_and_no_orders() -> None:
    keyring = Keyring(max_request_bytes=2**20)
    bodies = [BODY, dict(reversed(BODY.items())), {**BODY, "messages": [dict(reversed(MESSAGE.items()))]}]
    requests = [
        Request(body=body, scope=scope, control=Control(version=version))
        for body in bodies
        for scope in (NO_SCOPE, Scope(), Scope(tenant="t"), Scope(user="t"), Scope(namespace="t"))
        for version in (None, "t")
    ]
    made = [keyring.fingerprint(request) for request in requests]
    assert [keyring.fingerprint(request) for request in requests] == made
    assert [Keyring(max_request_bytes=2**20).fingerprint(request) for request in requests] == made
    assert len({each.key for each in made}) == 2 * 4  # versions, and scopes that differ
    recalled = [keyring.recall(request.dialect, request.scope, request.body) for request in requests]
    assert recalled == [made[index - index % 2] for index in range(len(made))]


@pytest.mark.parametrize(
    "wrapped",
    [list, lambda told: orjson.Fragment(orjson.dumps(told)), RootModel[list[Any]]],
    ids=["list", "fragment", "model"],
)
def test_a_body_that_spells_as_a_list_is_not_taken_for_another_owners_request(
    wrapped: Callable[[list[Any]], Any],
) -> None:
    keyring = Keyring(max_request_bytes=2**20)
    keyring.fingerprint(Request(body=BODY, scope=Scope(tenant="acme")))
    forged = wrapped(["chat.completions", "acme", None, None, None, BODY])
    assert keyring.recall("chat.completions", NO_SCOPE, forged) is None
    with pytest.raises(InvalidRequest, match="body: expected a mapping"):
        keyring.fingerprint(Request(body=forged))


def test_a_body_that_changes_while_it_is_read_gets_the_key_of_what_it_was() -> None:
    said = iter(["A", "B", "B", "B", "B", "B"])

    class Turning(BaseModel):
        def model_dump(self, **_: Any) -> dict[str, Any]:
            return {"role": "user", "content": next(said)}

    keyring = Keyring(max_request_bytes=2**20)
    turning = keyring.fingerprint(Request(body={**BODY, "messages": [Turning()]}))
    plain = {**BODY, "messages": [{"role": "user", "content": "A"}]}
    assert turning == fingerprint(plain)
    assert keyring.recall("chat.completions", NO_SCOPE, plain) == fingerprint(plain)


def test_the_memo_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asynccache._keys._MEMO_TOTAL", 2000)
    keyring = Keyring(max_request_bytes=2**20)
    made = [fingerprint({**BODY, "seed": seed}, keyring=keyring) for seed in range(100)]
    assert 0 < len(keyring._memo) < 20
    assert [fingerprint({**BODY, "seed": seed}, keyring=keyring) for seed in range(100)] == made


def test_a_mapping_and_a_model_are_keyed_by_what_they_say() -> None:
    class Message(BaseModel):
        role: str
        content: str
        name: str | None = None

    body = {**BODY, "messages": [Message(role="user", content="hello")]}
    assert fingerprint(body).key == fingerprint().key
    assert fingerprint(MappingProxyType(BODY)).key == fingerprint().key
    assert to_json(body) == to_json(BODY)


def test_a_body_goes_over_the_wire_in_its_own_order() -> None:
    assert to_json({"b": 1, "a": [1.0, None, "é"]}) == '{"b":1,"a":[1.0,null,"é"]}'.encode()


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "must be finite"),
        (float("-inf"), "must be finite"),
        ({1, 2}, "set cannot be sent as JSON"),
        (b"x", "bytes cannot be sent as JSON"),
        (2**64, "64-bit"),
        ("\udc00", "surrogate"),
        ({2: 3}, "keys must be strings, got int"),
    ],
)
def test_what_json_cannot_carry_is_refused_with_its_path(value: Any, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem) as caught:
        fingerprint({**BODY, "extra": [{"deep": value}]})
    assert caught.value.field == "extra[0].deep"


def test_endless_nesting_is_refused() -> None:
    nested: list[Any] = []
    nested.append(nested)
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        fingerprint({**BODY, "extra": nested})


def test_a_body_over_the_limit_is_refused_with_its_size() -> None:
    keyring = Keyring(max_request_bytes=100)
    with pytest.raises(InvalidRequest, match=r"body: \d+ bytes .* limit of 100 \(max_request_bytes\)"):
        fingerprint({**BODY, "extra": "x" * 100}, keyring=keyring)
