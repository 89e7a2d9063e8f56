"""A request gets its key, its partition, its question and a body of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asynccache import ConfigurationError, Control, Exchange, InvalidRequest, Request, Scope
from asynccache._driver import StageDriver
from asynccache.stages import Normalize
from asynccache.testing import FakeClock

pytestmark = pytest.mark.anyio

LARGE = "x" * 100_000


def asking(*texts: str, **fields: Any) -> dict[str, Any]:
    """A body; user and assistant take turns."""
    roles = ("user", "assistant")
    messages = [{"role": roles[turn % 2], "content": text} for turn, text in enumerate(texts)]
    return {"model": "m", "messages": messages, **fields}


def entering(body: Any, **fields: Any) -> Exchange:
    driver = StageDriver(clock=FakeClock(), ttl=None, strict=True, hooks=())
    return Exchange(Request(body=body, **fields), "fetch", driver, 0.0)


async def normalized(body: Any, normalize: Normalize | None = None, **fields: Any) -> Request:
    return (await (normalize or Normalize())(entering(body, **fields))).request


@pytest.mark.parametrize("extra", ["", LARGE])
async def test_a_request_gets_its_key_partition_and_question(extra: str) -> None:
    body, scope, control = asking(" hello\n", extra=extra), Scope(tenant="t"), Control(ttl=1, tags=("a",))
    entered = entering(body, scope=scope, control=control)
    left = await Normalize()(entered)
    assert (len(left.request.key), len(left.request.partition)) == (32, 32)
    assert left.request.question == "hello"
    assert (left.request.scope, left.request.control) == (scope, control)
    assert left == entered.asking(left.request)
    assert entered.request.key == b""


async def test_what_goes_upstream_is_the_body_as_sent() -> None:
    body = asking(" hello\n", temperature=1.0, user="u", seed=None)
    request = await normalized(body)
    assert request.body == body
    assert list(request.body) == list(body)


async def test_the_caller_may_change_its_body_afterwards() -> None:
    body = asking("hello")
    request = await normalized(body)
    body["messages"][0]["content"] = "bye"
    assert request.body == asking("hello")


async def test_a_body_changed_while_its_key_is_made_is_asked_as_it_was_keyed() -> None:
    body = asking("hello", extra=LARGE)
    working = asyncio.create_task(normalized(body))
    await asyncio.sleep(0)
    assert not working.done()
    body["messages"][0]["content"] = "bye"
    request = await working
    assert request.body == asking("hello", extra=LARGE)
    assert (request.key, request.question) == ((await normalized(request.body)).key, "hello")
    assert request.key != (await normalized(body)).key


@pytest.mark.parametrize("extra", ["", LARGE])
async def test_a_request_that_hands_over_server_state_stays_out_of_the_cache(extra: str) -> None:
    left = await Normalize()(entering(asking("q", extra=extra, kv_transfer_params={"a": 1})))
    assert left.uncacheable == "kv_transfer_params is set"
    assert left.reasons == ("kv_transfer_params is set",)
    assert left.request.key


@pytest.mark.parametrize("extra", ["", LARGE])
async def test_an_impossible_request_is_refused_by_the_name_of_its_field(extra: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await normalized(asking("q", extra=extra, n=0))
    assert caught.value.field == "n"
    with pytest.raises(InvalidRequest) as caught:
        await normalized(asking("q", extra=extra, deep=[{1, 2}]))
    assert caught.value.field == "deep[0]"


@pytest.mark.parametrize("limit", [100, 99_000])
async def test_a_request_over_the_limit_is_refused(limit: int) -> None:
    with pytest.raises(InvalidRequest, match=rf"limit of {limit} \(max_request_bytes\)"):
        await normalized(asking("q", extra="x" * limit), Normalize(max_request_bytes=limit))


async def test_another_origin_has_other_keys_and_partitions() -> None:
    made = [await normalized(asking("q"), Normalize(origin=origin)) for origin in (None, "", "a", "b")]
    assert len({request.key for request in made}) == len({request.partition for request in made}) == 4


@pytest.mark.parametrize("extra", ["", LARGE])
async def test_the_history_says_which_conversations_share_a_partition(extra: str) -> None:
    ours, theirs = (asking(opening, "hello", "what now?", extra=extra) for opening in ("hi", "hey"))
    shared = {}
    for history in ("equal", "last:2", "last:1", "ignore"):
        normalize = Normalize(history=history)
        left, right = await normalized(ours, normalize), await normalized(theirs, normalize)
        assert left.key != right.key
        shared[history] = left.partition == right.partition
    assert shared == {"equal": False, "last:2": False, "last:1": True, "ignore": True}


async def test_the_whole_history_counts_unless_told_otherwise() -> None:
    body = asking("hi", "hello", "what now?")
    assert await normalized(body) == await normalized(body, Normalize(history="equal"))


async def test_an_unknown_history_is_refused_when_the_stage_is_made() -> None:
    with pytest.raises(ConfigurationError, match="history='last:0'"):
        Normalize(history="last:0")
