"""A shaped request is keyed and sent in one shape, and its key says which."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson
import pytest

from asynccache import (
    CachePipeline,
    ConfigurationError,
    Control,
    Exchange,
    InvalidRequest,
    Request,
    Scope,
    Source,
    Stage,
)
from asynccache._driver import StageDriver
from asynccache._events import Event
from asynccache.backends import MemoryBackend
from asynccache.stages import ExactLookup, MissHandler, Normalize, Validate, Write
from asynccache.stages.prefix_watch import PrefixBreak, PrefixWatch
from asynccache.stages.shape import PromptShaper
from asynccache.testing import FakeClock, FakeUpstream
from asynccache.upstreams import as_upstream

pytestmark = pytest.mark.anyio

USER: Final = {"role": "user", "content": "hello"}
A: Final = {"type": "function", "function": {"name": "a"}}
B: Final = {"type": "function", "function": {"name": "b"}}


def asking(*tools: Any, system: str = "Be brief.") -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "system", "content": system}, USER], "tools": list(tools)}


def entering(body: Any, *events: list[Event], **fields: Any) -> Exchange:
    hooks = tuple(each.append for each in events)
    driver = StageDriver(clock=FakeClock(), ttl=None, strict=True, hooks=hooks)
    return Exchange(Request(body=body, **fields), "fetch", driver, 0.0)


def shaping(shaper: PromptShaper, upstream: FakeUpstream) -> CachePipeline:
    backend = MemoryBackend()
    stages: list[Stage] = [
        shaper,
        Normalize(),
        ExactLookup(backend),
        Validate(),
        MissHandler(as_upstream(upstream)),
        Write(backend),
    ]
    return CachePipeline(stages=stages, backend=backend, strict=True)


async def version(shaper: PromptShaper, given: str | None = None) -> str | None:
    entered = entering(asking(B, A), control=Control(version=given))
    return (await shaper(entered)).request.control.version


async def test_requests_that_differ_in_the_order_of_tools_share_one_answer_and_are_sent_alike() -> None:
    upstream = FakeUpstream()
    async with shaping(PromptShaper(), upstream) as cache:
        first = await cache.chat(**asking(A, B))
        await cache.flush()
        second = await cache.chat(**asking(B, A))
        assert (first.source, second.source) == (Source.UPSTREAM, Source.EXACT)
        assert first.text == second.text
        plain = await cache.chat(**{**asking(B, A), "model": "n"})
        assert plain.source is Source.UPSTREAM
    sent = [[tool["function"]["name"] for tool in call["tools"]] for call in upstream.calls]
    assert sent == [["a", "b"], ["a", "b"]]


async def test_everything_but_body_and_version_stays() -> None:
    body, control, scope = asking(B, A), Control(ttl=3, tags=("x",), version="7"), Scope(tenant="t")
    entered = entering(body, control=control, scope=scope)
    left = await PromptShaper()(entered)
    assert left == entered.asking(left.request)
    assert left.request.scope == scope
    assert (left.request.control.ttl, left.request.control.tags) == (3, ("x",))
    assert left.request.body == {**body, "tools": [A, B]}
    assert body == asking(B, A)


async def test_the_version_is_set_though_nothing_changes() -> None:
    left = await PromptShaper()(entering({"messages": [USER]}))
    assert left.request.control.version is not None
    assert orjson.loads(left.request.control.version)[0] == "shape/2"


async def test_the_version_tells_options_and_callers_versions_apart() -> None:
    shapers = [
        PromptShaper(),
        PromptShaper(tools=False),
        PromptShaper(documents=True),
        PromptShaper(volatile=True),
        PromptShaper(volatile=True, patterns=[re.compile("x")]),
        PromptShaper(volatile=True, patterns=[re.compile("x", re.IGNORECASE)]),
    ]
    inner = await version(PromptShaper())
    made = [await version(shaper, given) for shaper in shapers for given in (None, "", "null", "1", inner)]
    assert len(set(made)) == len(made) == 30
    again = [await version(shaper, given) for shaper in shapers for given in (None, "", "null", "1", inner)]
    assert made == again


async def test_what_does_not_change_the_shape_does_not_change_the_version() -> None:
    same = PromptShaper(patterns=[re.compile("x")], watch=PrefixWatch())
    assert await version(same) == await version(PromptShaper())


async def test_the_version_lists_what_was_moved() -> None:
    shaper = PromptShaper(volatile=True)
    lines = ("Current user: bob", "Request id: 7")
    versions = [
        (await shaper(entering(asking(system="\n".join((*moved, "Be brief.")))))).request.control.version
        for moved in ((), lines[:1], lines[1:], lines, lines[::-1])
    ]
    told = [orjson.loads(version or "") for version in versions]
    assert [each[4] for each in told] == [
        [],
        ["Current user: bob"],
        ["Request id: 7"],
        [*lines],
        [*lines[::-1]],
    ]
    assert all(each[:4] == told[0][:4] and each[5] is None for each in told)
    assert all(len(version or "") < 200 for version in versions)


async def test_what_is_no_text_is_refused_by_the_door_behind_though_it_was_moved() -> None:
    left = await PromptShaper(volatile=True)(entering(asking(system="Current user: \ud800\nBe brief.")))
    assert left.request.body["messages"][0]["content"] == "Be brief."
    with pytest.raises(InvalidRequest, match="surrogate"):
        await Normalize()(left)


async def test_a_request_of_another_dialect_passes_untouched() -> None:
    entered = entering(asking(B, A), dialect="completions")
    assert await PromptShaper(volatile=True)(entered) is entered
    assert PromptShaper().shaped(entered.request) is entered.request


@pytest.mark.parametrize("body", [None, [], {"messages": 3}, {"messages": [USER], "tools": [{1: 2}]}])
async def test_the_door_behind_it_speaks_about_what_is_not_understood(body: Any) -> None:
    left = await PromptShaper(volatile=True, watch=PrefixWatch())(entering(body))
    assert left.request.body is body
    with pytest.raises(InvalidRequest):
        await Normalize()(left)


@pytest.mark.parametrize("patterns", [["x"], [re.compile(b"x")]])
async def test_patterns_must_be_compiled_patterns_of_text(patterns: Any) -> None:
    with pytest.raises(ConfigurationError, match="patterns: expected"):
        PromptShaper(volatile=True, patterns=patterns)


async def test_hooks_are_told_where_a_prefix_breaks_in_what_is_sent() -> None:
    events: list[Event] = []
    shaper = PromptShaper(watch=PrefixWatch())
    for number, tools in enumerate([(A, B), (B, A), (A, B)]):
        system = "Be brief." if number < 2 else "It is 10:30. Be brief."
        await shaper(entering(asking(*tools, system=system), events, scope=Scope(tenant="acme")))
    [event] = events
    assert isinstance(event, PrefixBreak)
    assert (event.cause, event.field) == ("text", "messages[0].content")
    assert "acme" not in repr(event)


async def test_without_a_volatile_line_in_the_system_message_nothing_breaks() -> None:
    events: list[Event] = []
    shaper = PromptShaper(volatile=True, watch=PrefixWatch())
    for minute in range(10, 20):
        await shaper(entering(asking(A, system=f"It is now 10:{minute}.\nBe brief."), events))
    assert events == []


async def test_what_was_stored_is_invalidated_by_its_shaped_form() -> None:
    shaper = PromptShaper()
    async with shaping(shaper, FakeUpstream()) as cache:
        await cache.chat(**asking(A, B))
        await cache.flush()
        assert await cache.invalidate(asking(A, B)) == 0
        shaped = shaper.shaped(Request(body=asking(B, A)))
        assert await cache.invalidate(shaped.body, control=shaped.control) == 1
        assert (await cache.chat(**asking(A, B))).source is Source.UPSTREAM
