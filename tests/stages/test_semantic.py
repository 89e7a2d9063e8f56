"""Questions in other words: what is proposed, what is served, and what happens when a part fails."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from typing import Any

import anyio
import numpy as np
import pytest
from numpy.typing import NDArray

from asynccache import (
    Alias,
    BackendUnavailable,
    CachePipeline,
    Candidate,
    ConfigurationError,
    Control,
    EmbedderError,
    EmbedderUnavailable,
    Embedding,
    Entry,
    Event,
    Neighbour,
    Request,
    SemanticTierChanged,
    Source,
    Stage,
    StageFailed,
    TextRefused,
)
from asynccache.backends import MemoryBackend
from asynccache.stages import (
    ExactLookup,
    MissHandler,
    Normalize,
    SemanticLookup,
    SingleFlight,
    Threshold,
    Validate,
    Write,
    WriteAlias,
)
from asynccache.stages._questions import PAUSE, RESPITE, SLOW
from asynccache.testing import FakeClock, FakeUpstream, make_entry

pytestmark = pytest.mark.anyio


class Angles:
    """Embeds "12 degrees" as the point at that angle, so that a test can say how near two questions are."""

    name = "angles"
    dim = 2

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.gate: anyio.Event | None = None

    async def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        self.asked += texts
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        turns = [math.radians(float(text.split()[0])) for text in texts]
        return np.array([[math.cos(turn), math.sin(turn)] for turn in turns], dtype=np.float32)


class PlainIndex:
    """Every vector looked at, in the order they came."""

    def __init__(self) -> None:
        self.held: dict[tuple[bytes, bytes], dict[bytes, NDArray[np.float32]]] = {}
        self.error: Exception | None = None

    async def nearest(
        self, partition: bytes, embedding: Embedding, k: int, *, vectors: int = 0
    ) -> list[Neighbour]:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        query = np.frombuffer(embedding.vector, dtype=np.float32)
        held = self.held.get((partition, embedding.space), {})
        found = [Neighbour(key, float(vector @ query)) for key, vector in held.items()]
        return sorted(found, key=lambda each: -each.similarity)[:k]

    def learn(self, entry: Entry) -> None:
        if entry.embedding is not None:
            vector = np.frombuffer(entry.embedding.vector, dtype=np.float32)
            self.held.setdefault((entry.partition, entry.embedding.space), {})[entry.key] = vector

    def forget(self, partition: bytes, keys: Collection[bytes]) -> None:
        for (its, _), held in self.held.items():
            if its == partition:
                for key in keys:
                    held.pop(key, None)

    @property
    def size(self) -> int:
        return sum(map(len, self.held.values()))


class Parts:
    """A semantic chain, and everything in it for a test to hold."""

    def __init__(self, *answers: Any, least: float = 0.9, floor: float | None = None, **options: Any) -> None:
        self.backend = MemoryBackend(clock=options.get("clock"))
        self.embedder = Angles()
        self.index = PlainIndex()
        self.upstream = FakeUpstream(*answers)
        self.events: list[Event] = []
        decision = Threshold(least, floor=floor)
        validate = Validate(decision=decision)
        lookup = SemanticLookup(
            self.backend, self.index, self.embedder, least=decision.lowest, **options.pop("lookup", {})
        )
        asking = MissHandler(self.upstream)
        stages: list[Stage] = [
            Normalize(),
            ExactLookup(self.backend, space=lookup.space),
            validate,
            lookup,
            validate,
            WriteAlias(self.backend, self.index, least=0.999),
            SingleFlight(asking, Write(self.backend, index=self.index)),
        ]
        options = {"strict": True, "hooks": [self.events.append], "backend": self.backend, **options}
        self.cache = CachePipeline(stages=stages, **options)

    @property
    def asked(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.upstream.calls]


def degrees(angle: float) -> float:
    return math.cos(math.radians(angle))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_near_question_is_answered_by_the_stored_answer() -> None:
    parts = Parts("one", "two")
    async with parts.cache as cache:
        first = await cache.ask("0 degrees")
        near = await cache.ask("5 degrees")
        far = await cache.ask("60 degrees")
    assert (first.text, first.source) == ("one", Source.UPSTREAM)
    assert (near.text, near.source, near.hit) == ("one", Source.SEMANTIC, True)
    assert near.similarity == pytest.approx(degrees(5), abs=1e-6)
    assert (far.text, far.source) == ("two", Source.UPSTREAM)
    assert parts.asked == ["0 degrees", "60 degrees"]


async def test_the_nearest_of_several_is_served() -> None:
    parts = Parts("zero", "forty")
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        await cache.ask("40 degrees")
        assert (await cache.ask("35 degrees")).text == "forty"
        assert (await cache.ask("5 degrees")).text == "zero"


async def test_an_exact_hit_is_never_embedded() -> None:
    parts = Parts()
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        await cache.ask("0 degrees")
    assert parts.embedder.asked == ["0 degrees"]


async def test_a_semantic_hit_can_be_streamed() -> None:
    parts = Parts("one two three")
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        async with cache.stream(messages=[{"role": "user", "content": "3 degrees"}]) as stream:
            text = "".join([chunk.text async for chunk in stream])
        assert (text, stream.outcome.source) == ("one two three", Source.SEMANTIC)
    assert len(parts.upstream.calls) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"system": "Be brief."},
        {"model": "another"},
        {"temperature": 0.5},
        {"scope": {"tenant": "b"}},
        {"scope": {"user": "b"}},
        {"scope": {"namespace": "b"}},
        {"control": {"version": "2"}},
        {"response_format": {"type": "json_object"}},
        {"some_field_of_tomorrow": 1},
    ],
    ids=str,
)
async def test_nothing_but_the_wording_may_differ(other: dict[str, Any]) -> None:
    parts = Parts("one", '{"two": 2}')
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        assert (await cache.ask("0 degrees", **other)).source is Source.UPSTREAM
        assert (await cache.ask("1 degrees", **other)).text == '{"two": 2}'
        assert (await cache.ask("1 degrees")).text == "one"


async def test_a_request_may_raise_the_threshold_and_lower_it_to_the_floor() -> None:
    parts = Parts("a", "b", "c", least=degrees(20), floor=degrees(40))
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        assert (await cache.ask("10 degrees")).text == "a"
        raised = await cache.ask("10.5 degrees", control={"threshold": degrees(5), "no_store": True})
        lowered = await cache.ask("35 degrees", control={"threshold": degrees(38)})
        beyond = await cache.ask("50 degrees", control={"threshold": 0.0})
    assert (raised.source, raised.reasons) == (Source.UPSTREAM, ("below the threshold",))
    assert lowered.text == "a"
    assert beyond.source is Source.UPSTREAM


async def test_without_a_floor_a_request_cannot_lower_the_threshold() -> None:
    parts = Parts(least=degrees(20))
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        assert (await cache.ask("30 degrees", control={"threshold": 0.0})).source is Source.UPSTREAM


def test_each_namespace_may_have_a_threshold_of_its_own() -> None:
    threshold = Threshold({"faq": 0.8, None: 0.9})
    entry = make_entry(created_at=0)
    for namespace, similarity, served in [
        ("faq", 0.85, True),
        ("faq", 0.75, False),
        (None, 0.85, False),
        ("other", 0.95, True),
    ]:
        request = Request(body={}, scope=_scope(namespace))
        refused = threshold(request, Candidate(entry, Source.SEMANTIC, 0.0, similarity))
        assert (refused is None) is served, namespace
    assert threshold.lowest == 0.8
    assert Threshold({"faq": 0.8}).least(Request(body={})) == 0.95


def _scope(namespace: str | None) -> Any:
    from asynccache import Scope

    return Scope(namespace=namespace)


@pytest.mark.parametrize("wrong", [1.5, -0.1, True, "0.9", float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="threshold"):
        Threshold(wrong)
    with pytest.raises(ConfigurationError, match="faq"):
        Threshold({"faq": wrong})
    with pytest.raises(ConfigurationError, match="threshold_floor"):
        Threshold(floor=wrong)


async def test_without_a_decision_no_semantic_candidate_is_served() -> None:
    backend, index = MemoryBackend(), PlainIndex()
    upstream = FakeUpstream("one", "two")
    stages: list[Stage] = [
        Normalize(),
        SemanticLookup(backend, index, Angles()),
        Validate(),
        MissHandler(upstream),
        Write(backend, index=index),
    ]
    async with CachePipeline(stages=stages, strict=True) as cache:
        await cache.ask("0 degrees")
        again = await cache.ask("1 degrees")
    assert (again.text, again.reasons) == ("two", ("no semantic decision",))


async def test_an_expired_neighbour_is_not_served() -> None:
    clock = FakeClock()
    parts = Parts("old", "new", ttl=60, clock=clock)
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        clock.advance(61)
        assert (await cache.ask("1 degrees")).text == "new"


async def test_a_deleted_neighbour_is_forgotten() -> None:
    parts = Parts("old", "new")
    async with parts.cache as cache:
        await cache.ask("0 degrees", control={"tags": ["t"]})
        await cache.invalidate(tags=["t"])
        assert parts.index.size == 1
        assert (await cache.ask("1 degrees")).text == "new"
    assert parts.index.size == 1  # the new one


async def test_no_cache_skips_the_lookup_and_stores_what_can_be_found() -> None:
    parts = Parts("old", "new")
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        fresh = await cache.ask("20 degrees", control={"no_cache": True})
        near = await cache.ask("21 degrees")
    assert (fresh.text, near.text) == ("new", "new")


async def test_an_answer_that_replaces_an_expired_one_keeps_its_place_in_the_index() -> None:
    clock = FakeClock()
    parts = Parts("old", "new", clock=clock)
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        clock.advance(10)
        await cache.ask("0 degrees", control={"max_age": 5})
        assert (await cache.ask("1 degrees", control={"max_age": 5})).text == "new"


async def test_an_answer_that_may_not_be_stored_is_not_learned() -> None:
    parts = Parts("one", "two")
    async with parts.cache as cache:
        await cache.ask("0 degrees", control={"no_store": True})
        assert parts.index.size == 0
        assert (await cache.ask("1 degrees")).text == "two"


# When parts fail


async def test_an_embedder_that_fails_leaves_the_exact_tier_and_says_so_once() -> None:
    clock = FakeClock()
    parts = Parts("one", "two", "three", strict=False, clock=clock)
    parts.embedder.error = EmbedderUnavailable("no model")
    async with parts.cache as cache:
        first = await cache.ask("0 degrees")
        assert (await cache.ask("0 degrees")).source is Source.EXACT
        assert (await cache.ask("1 degrees")).text == "two"
        assert parts.embedder.asked == ["0 degrees"]
        parts.embedder.error = None
        clock.advance(PAUSE)
        assert (await cache.ask("2 degrees")).text == "three"
        assert (await cache.ask("3 degrees")).text == "three"
    assert first.reasons == ("no semantic lookup: the embedder is unavailable",)
    changes = [event.error for event in parts.events if isinstance(event, SemanticTierChanged)]
    assert [str(error) for error in changes] == ["the embedder raised EmbedderUnavailable", "None"]


async def test_a_failing_embedder_is_tried_again_only_after_a_pause() -> None:
    clock = FakeClock()
    parts = Parts(strict=False, clock=clock)
    parts.embedder.error = EmbedderUnavailable("no model")
    async with parts.cache as cache:
        for angle in range(5):
            await cache.ask(f"{angle} degrees")
            clock.advance(PAUSE / 4)
    assert parts.embedder.asked == ["0 degrees", "4 degrees"]


@pytest.mark.parametrize("error", [ValueError("foreign"), EmbedderError("ours")], ids=["foreign", "ours"])
async def test_any_error_of_an_embedder_is_passed_over(error: Exception) -> None:
    parts = Parts("one", strict=False)
    parts.embedder.error = error
    async with parts.cache as cache:
        assert (await cache.ask("0 degrees")).text == "one"


async def test_strict_mode_raises_what_the_embedder_raised() -> None:
    parts = Parts()
    parts.embedder.error = EmbedderUnavailable("no model")
    async with parts.cache as cache:
        with pytest.raises(EmbedderUnavailable) as raised:
            await cache.ask("0 degrees")
    assert raised.value.__cause__ is parts.embedder.error


async def test_a_text_the_embedder_refuses_is_exact_only_and_says_why() -> None:
    parts = Parts("one", "two")
    parts.embedder.error = TextRefused("the question is longer than the window")
    async with parts.cache as cache:
        outcome = await cache.ask("0 degrees")
        assert (await cache.ask("0 degrees")).source is Source.EXACT
    assert outcome.reasons == ("no semantic lookup: the embedder refused the text",)  # in our own words
    assert parts.index.size == 0


async def test_a_slow_embedder_does_not_hold_the_request() -> None:
    parts = Parts("one", lookup={"patience": 0.01})
    parts.embedder.gate = anyio.Event()
    async with parts.cache as cache:
        outcome = await cache.ask("0 degrees")
    assert (outcome.text, outcome.reasons) == ("one", ("no semantic lookup: the embedder took too long",))


async def test_an_index_that_fails_still_lets_the_answer_be_stored_with_its_vector() -> None:
    parts = Parts("one", strict=False)
    parts.index.error = BackendUnavailable("down")
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        parts.index.error = None
        assert (await cache.ask("1 degrees")).text == "one"
    assert [event.stage for event in parts.events if isinstance(event, StageFailed)] == ["SemanticLookup"]


# Aliases


async def test_a_hit_beyond_doubt_makes_its_question_an_alias() -> None:
    parts = Parts("one")
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        await cache.ask("1 degrees")
        await settle()
        again = await cache.ask("1 degrees")
    assert (again.text, again.source) == ("one", Source.SEMANTIC)
    assert again.similarity == pytest.approx(degrees(1), abs=1e-6)
    assert parts.embedder.asked == ["0 degrees", "1 degrees"]
    assert parts.index.size == 2


async def test_a_doubtful_hit_makes_no_alias() -> None:
    parts = Parts("one")
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        await cache.ask("10 degrees")
        await settle()
    assert parts.index.size == 1


async def test_a_hit_through_an_alias_makes_no_further_alias() -> None:
    parts = Parts("one", least=0.95)
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        for angle in (2, 4, 6):
            assert (await cache.ask(f"{angle} degrees")).text == "one"
            await settle()
    assert parts.index.size == 2  # 2 degrees; 4 was found through it


async def test_a_hit_over_two_steps_counts_with_the_least_cosine_it_can_have() -> None:
    parts = Parts("one", "two", least=degrees(10))
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        await cache.ask("2 degrees")
        await settle()
        over = await cache.ask("9 degrees")
        beyond = await cache.ask("11 degrees")
    assert over.text == "one"
    assert over.similarity == pytest.approx(degrees(9), abs=1e-5)
    assert (beyond.text, parts.asked) == ("two", ["0 degrees", "11 degrees"])


async def test_an_alias_meets_a_raised_threshold() -> None:
    parts = Parts("one", "two", least=0.9)
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        await cache.ask("2 degrees")
        await settle()
        strict = await cache.ask("2 degrees", control={"threshold": 0.9999})
    assert (strict.source, strict.text) == (Source.UPSTREAM, "two")


async def test_an_alias_ends_with_its_answer() -> None:
    parts = Parts("one", "two")
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        await cache.ask("1 degrees")
        await settle()
        await cache.invalidate({"messages": [{"role": "user", "content": "0 degrees"}]})
        assert (await cache.ask("1 degrees")).text == "two"


async def test_invalidating_an_alias_invalidates_its_answer() -> None:
    parts = Parts("one", "two")
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        await cache.ask("1 degrees")
        await settle()
        assert await cache.invalidate({"messages": [{"role": "user", "content": "1 degrees"}]}) == 2
        assert (await cache.ask("0 degrees")).text == "two"


async def test_an_alias_is_tagged_as_its_answer_is() -> None:
    parts = Parts("one")
    async with parts.cache as cache:
        await cache.ask("0 degrees", control={"tags": ["t"]})
        await cache.ask("1 degrees")
        await settle()
        assert await cache.invalidate(tags=["t"]) == 2


async def test_an_answer_of_its_own_is_never_replaced_by_an_alias() -> None:
    parts = Parts("one", "two")
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        await cache.ask("1 degrees", control={"no_cache": True})
        await cache.ask("1 degrees", control={"max_age": 60})
        await settle()
        assert (await cache.ask("1 degrees")).text == "two"


async def test_an_alias_is_never_served_as_an_answer() -> None:
    from asynccache.stages.validate import belongs

    entry = make_entry(created_at=0, alias=Alias(b"k" * 32, 0.99, b"s" * 16))
    request = Request(body={}, key=entry.key, partition=entry.partition)
    for source in (Source.EXACT, Source.SEMANTIC):
        assert belongs(request, Candidate(entry, source, 0.0)) is not None


async def test_an_alias_lives_no_longer_than_its_request_allows() -> None:
    clock = FakeClock()
    parts = Parts("one", clock=clock)
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        clock.advance(10)
        await cache.ask("1 degrees", control={"ttl": 5})
        await cache.flush()
        (alias,) = [entry async for entry in parts.backend.scan() if entry.alias is not None]
        assert alias.expires_at == clock.now() + 5


@pytest.mark.parametrize("options", [{"control": {"ttl": 0}}, {"control": {"no_store": True}}], ids=str)
async def test_a_request_that_stores_nothing_stores_no_alias(options: dict[str, Any]) -> None:
    parts = Parts("one")
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        await cache.ask("1 degrees", **options)
        await cache.flush()
        assert [entry async for entry in parts.backend.scan() if entry.alias is not None] == []


async def test_a_refresh_is_not_undone_by_an_alias_that_comes_late() -> None:
    parts = Parts("old", "fresh")
    backend = parts.backend
    gate, arrived, put = anyio.Event(), anyio.Event(), backend.add

    async def late(entry: Entry) -> bool:
        arrived.set()
        await gate.wait()
        return await put(entry)

    backend.add = late  # type: ignore[method-assign]
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        assert (await cache.ask("1 degrees")).text == "old"
        await arrived.wait()
        await cache.ask("1 degrees", control={"no_cache": True})
        gate.set()
        await cache.flush()
        assert (await cache.ask("1 degrees")).text == "fresh"


async def test_an_alias_judged_by_another_embedder_is_not_followed() -> None:
    parts = Parts("one", "two")
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        await cache.ask("1 degrees")
        await cache.flush()
    parts.embedder.name = "another"
    async with parts.cache as cache:
        assert (await cache.ask("90 degrees")).text == "two"  # the space is known from here on
        assert (await cache.ask("1 degrees")).source is Source.UPSTREAM


async def test_an_alias_that_leads_to_an_alias_is_let_go_of() -> None:
    parts = Parts("one", "two")
    async with parts.cache as cache:
        first = await cache.ask("0 degrees")
        await cache.ask("1 degrees")
        await cache.flush()
        (alias,) = [entry async for entry in parts.backend.scan() if entry.alias is not None]
        assert alias.alias is not None
        await parts.backend.put(replace(alias, key=first.key, alias=Alias(alias.key, 1.0, alias.alias.space)))
        assert (await cache.ask("1 degrees")).text == "two"
        assert (await cache.ask("1 degrees")).source is Source.EXACT


async def test_what_has_gone_from_the_store_does_not_hide_what_is_still_there() -> None:
    parts = Parts("a", "b", "c", "d", least=0.5, lookup={"candidates": 2})
    async with parts.cache as cache:
        for angle in (1, 2, 30):
            await cache.ask(f"{angle} degrees", control={"tags": [str(angle)], "no_cache": True})
        await cache.invalidate(tags=["1", "2"])
        assert (await cache.ask("0 degrees")).text == "c"


async def test_an_exact_entry_that_was_refused_is_not_judged_twice() -> None:
    clock = FakeClock()
    parts = Parts("old", "new", clock=clock)
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        clock.advance(10)
        again = await cache.ask("0 degrees", control={"max_age": 5})
    assert again.reasons == ("older than max_age",)


async def test_a_call_of_a_tool_is_never_served_to_another_question() -> None:
    function = {"name": "delete", "arguments": '{"path": "report.txt"}'}
    call = {"id": "1", "type": "function", "function": function}
    message = {"role": "assistant", "content": "Deleting it.", "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    answer = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    tools = [{"type": "function", "function": {"name": "delete", "parameters": {}}}]
    parts = Parts(answer, "two")
    async with parts.cache as cache:
        await cache.ask("0 degrees", tools=tools)
        assert (await cache.ask("0 degrees", tools=tools)).source is Source.EXACT
        near = await cache.ask("1 degrees", tools=tools)
    assert (near.source, near.reasons) == (Source.UPSTREAM, ("it calls a tool",))


# Invalidation


def user(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


@pytest.fixture
async def tier() -> AsyncIterator[tuple[CachePipeline, FakeUpstream]]:
    upstream = FakeUpstream("one", "two", "three")
    options: dict[str, Any] = {"embedder": Angles(), "decision": "threshold", "threshold": degrees(20)}
    async with CachePipeline(upstream, backend="memory://", strict=True, **options) as cache:
        yield cache, upstream


async def test_invalidating_a_question_forgets_what_near_ones_would_put_in_its_place(
    tier: tuple[CachePipeline, FakeUpstream],
) -> None:
    cache, _ = tier
    await cache.ask("0 degrees")
    await cache.ask("60 degrees")
    assert (await cache.ask("15 degrees")).text == "one"
    assert await cache.invalidate(user("15 degrees")) == 1
    assert (await cache.ask("15 degrees")).text == "three"
    assert (await cache.ask("60 degrees")).source is Source.EXACT


async def test_invalidating_right_after_a_hit_leaves_no_alias_behind(
    tier: tuple[CachePipeline, FakeUpstream],
) -> None:
    cache, _ = tier
    await cache.ask("0 degrees")
    assert (await cache.ask("1 degrees")).text == "one"
    assert await cache.invalidate(user("1 degrees")) >= 1
    await cache.flush()
    assert (await cache.ask("1 degrees")).text == "two"


# What embedders may do


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(np.ones((2, 2), dtype=np.float32), id="two rows"),
        pytest.param(np.ones(2, dtype=np.float32), id="no rows"),
        pytest.param(np.zeros((1, 2), dtype=np.float32), id="zero"),
        pytest.param(np.array([[np.nan, 1.0]], dtype=np.float32), id="nan"),
        pytest.param(np.array([[3.0, 4.0]], dtype=np.float32), id="not of norm 1"),
        pytest.param(np.array([[1.0, 0.0, 0.0]], dtype=np.float32), id="another dim"),
        pytest.param([[1.0, 0.0]], id="a list"),
        pytest.param(None, id="nothing"),
    ],
)
async def test_what_is_no_vector_is_never_stored_and_closes_the_tier(made: Any) -> None:
    parts = Parts("one", strict=False)

    async def embed(texts: Sequence[str], /) -> Any:
        await asyncio.sleep(0)
        return made

    parts.embedder.embed = embed  # type: ignore[method-assign]
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        assert (await cache.ask("0 degrees")).source is Source.EXACT
        (stored,) = [entry async for entry in parts.backend.scan()]
    assert stored.embedding is None
    assert len([event for event in parts.events if isinstance(event, SemanticTierChanged)]) == 1


async def test_numpys_own_float_type_is_taken() -> None:
    parts = Parts("one")
    embed = parts.embedder.embed

    async def doubles(texts: Sequence[str], /) -> Any:
        return (await embed(texts)).astype(np.float64)

    parts.embedder.embed = doubles  # type: ignore[method-assign]
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        assert (await cache.ask("1 degrees")).text == "one"


class Panic(BaseException):
    """What compiled code raises when it fails."""


@pytest.mark.parametrize("error", [Panic(), asyncio.CancelledError(), TimeoutError()], ids=repr)
async def test_a_panic_or_foreign_cancellation_of_an_embedder_is_passed_over(error: Any) -> None:
    parts = Parts("one", strict=False)
    parts.embedder.error = error
    async with parts.cache as cache:
        assert (await cache.ask("0 degrees")).text == "one"
    assert len([event for event in parts.events if isinstance(event, SemanticTierChanged)]) == 1


async def test_a_caller_cancelled_while_it_waits_for_its_vector_is_cancelled() -> None:
    parts = Parts("one")
    parts.embedder.gate = anyio.Event()
    async with parts.cache as cache:
        task = asyncio.ensure_future(cache.ask("0 degrees"))
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert parts.upstream.calls == []


async def test_no_word_of_an_embedder_reaches_reasons_or_events() -> None:
    for error in (
        ValueError("my PIN is 1234"),
        EmbedderError("my PIN is 1234"),
        TextRefused("my PIN is 1234"),
    ):
        parts = Parts("one", strict=False)
        parts.embedder.error = error
        async with parts.cache as cache:
            outcome = await cache.ask("0 degrees")
        told = [str(event.error) for event in parts.events if isinstance(event, SemanticTierChanged)]
        assert "1234" not in " ".join([*outcome.reasons, *told])


async def test_an_embedder_that_is_always_late_is_left_alone_for_a_while() -> None:
    clock = FakeClock()
    parts = Parts(strict=False, clock=clock, lookup={"patience": 0.01})
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        parts.embedder.gate = anyio.Event()
        for angle in range(1, SLOW + 3):
            await cache.ask(f"{angle * 40} degrees")
        assert len(parts.embedder.asked) == 1 + SLOW
        parts.embedder.gate = None
        clock.advance(RESPITE)
        assert (await cache.ask("1 degrees")).source is Source.SEMANTIC
    changes = [event.error for event in parts.events if isinstance(event, SemanticTierChanged)]
    assert [error is None for error in changes] == [False, True]


async def test_a_pipeline_that_is_opened_again_asks_its_embedder_again() -> None:
    parts = Parts("one", "two", strict=False)
    parts.embedder.error = EmbedderUnavailable("no model")
    async with parts.cache as cache:
        await cache.ask("0 degrees")
    parts.embedder.error = None
    async with parts.cache as cache:
        await cache.ask("90 degrees")
        assert (await cache.ask("91 degrees")).text == "two"


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda b, i: SemanticLookup(b, i, Angles(), candidates=0), "candidates"),
        (lambda b, i: SemanticLookup(b, i, Angles(), least=float("nan")), "least"),
        (lambda b, i: SemanticLookup(b, i, Angles(), patience=-1), "patience"),
        (lambda b, i: WriteAlias(b, i, least=7), "least"),
    ],
    ids=["candidates", "least", "patience", "least of an alias"],
)
def test_an_option_that_cannot_work_is_named(make: Any, option: str) -> None:
    with pytest.raises(ConfigurationError, match=option):
        make(MemoryBackend(), PlainIndex())


# More about aliases


async def test_a_pipeline_without_a_decision_does_not_follow_aliases() -> None:
    parts = Parts("one")
    async with parts.cache as cache:
        await cache.ask("0 degrees")
        await cache.ask("1 degrees")
        await settle()
        upstream = FakeUpstream("fresh")
        async with CachePipeline(upstream=upstream, backend=parts.backend, strict=True) as exact:
            assert (await exact.ask("1 degrees")).text == "fresh"


async def test_an_alias_that_cannot_be_written_harms_nobody() -> None:
    parts = Parts("one")

    async def refuse(entry: Entry) -> bool:
        raise BackendUnavailable("full")

    async with parts.cache as cache:
        await cache.ask("0 degrees")
        parts.backend.add = refuse  # type: ignore[method-assign]
        assert (await cache.ask("1 degrees")).text == "one"
        await settle()
    assert [event.stage for event in parts.events if isinstance(event, StageFailed)] == ["WriteAlias"]


async def test_an_alias_written_after_an_invalidation_leads_nowhere() -> None:
    parts = Parts("one", "two")
    gate, put = anyio.Event(), parts.backend.add

    async def late(entry: Entry) -> bool:
        await gate.wait()
        return await put(entry)

    parts.backend.add = late  # type: ignore[method-assign]
    async with parts.cache as cache:
        await cache.ask("0 degrees", control={"tags": ["t"]})
        assert (await cache.ask("1 degrees")).text == "one"
        await settle()
        await cache.invalidate(tags=["t"])
        gate.set()
        await cache.flush()
        assert (await cache.ask("1 degrees")).text == "two"


def test_control_threshold_is_checked_at_the_door() -> None:
    from asynccache import InvalidRequest

    for wrong in (1.01, -1, "high", True, float("nan")):
        with pytest.raises(InvalidRequest, match=r"control\.threshold"):
            Control(threshold=wrong)  # type: ignore[arg-type]
