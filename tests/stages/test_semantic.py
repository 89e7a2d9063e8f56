"""Questions in other words: what is proposed, what is served, and what happens when a part fails."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Sequence
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
from asynccache.stages.semantic import PAUSE
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

    async def nearest(self, partition: bytes, embedding: Embedding, k: int) -> list[Neighbour]:
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
            ExactLookup(self.backend),
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
    assert [str(error) for error in changes] == ["no model", "None"]


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
        with pytest.raises(EmbedderUnavailable, match="no model"):
            await cache.ask("0 degrees")


async def test_a_text_the_embedder_refuses_is_exact_only_and_says_why() -> None:
    parts = Parts("one", "two")
    parts.embedder.error = TextRefused("the question is longer than the window")
    async with parts.cache as cache:
        outcome = await cache.ask("0 degrees")
        assert (await cache.ask("0 degrees")).source is Source.EXACT
    assert outcome.reasons == ("no semantic lookup: the question is longer than the window",)
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

    entry = make_entry(created_at=0, alias=Alias(b"k" * 32, 0.99))
    request = Request(body={}, key=entry.key, partition=entry.partition)
    for source in (Source.EXACT, Source.SEMANTIC):
        assert belongs(request, Candidate(entry, source, 0.0)) is not None


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

    async def refuse(entry: Entry) -> None:
        raise BackendUnavailable("full")

    async with parts.cache as cache:
        await cache.ask("0 degrees")
        parts.backend.put = refuse  # type: ignore[method-assign]
        assert (await cache.ask("1 degrees")).text == "one"
        await settle()
    assert [event.stage for event in parts.events if isinstance(event, StageFailed)] == ["WriteAlias"]


async def test_invalidation_stops_an_alias_that_is_being_written() -> None:
    parts = Parts("one", "two")
    async with parts.cache as cache:
        await cache.ask("0 degrees", control={"tags": ["t"]})
        found = parts.backend.get
        gate = anyio.Event()

        async def slow(key: bytes) -> Entry | None:
            if gate.is_set():
                return await found(key)
            await gate.wait()
            return None

        outcome = await cache.ask("1 degrees")
        parts.backend.get = slow  # type: ignore[method-assign]
        await settle()
        await cache.invalidate(tags=["t"])
        gate.set()
        await settle()
        assert outcome.text == "one"
        assert (await cache.ask("1 degrees")).text == "two"


def test_control_threshold_is_checked_at_the_door() -> None:
    from asynccache import InvalidRequest

    for wrong in (1.01, -1, "high", True, float("nan")):
        with pytest.raises(InvalidRequest, match=r"control\.threshold"):
            Control(threshold=wrong)  # type: ignore[arg-type]
