"""Embeddings of different models never stand in one answer."""

from __future__ import annotations

from typing import Any

import pytest

from asynccache import NotCached, Source, UpstreamServerError
from asynccache.backends import MemoryBackend
from asynccache.testing import FakeClock
from tests.stages._batches import batches, request

pytestmark = pytest.mark.anyio

ANEW = "asked anew: the embeddings {}"


class Alias:
    """An async callable whose model's name comes to mean another model; one input may be cut short."""

    def __init__(self) -> None:
        self.model = "first"
        self.vector: Any = [0.5, 0.25, 0.125]
        self.error: Exception | None = None
        self.calls: list[list[str]] = []

    async def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        given = body["input"]
        inputs = given if isinstance(given, list) else [given]
        self.calls.append(inputs)
        if self.error is not None:
            raise self.error
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": [*self.vector, 1.0] if each == "odd" else self.vector,
            }
            for index, each in enumerate(inputs)
        ]
        return {"object": "list", "model": self.model, "data": data}


@pytest.fixture
def upstream() -> Alias:
    return Alias()


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend(clock=FakeClock())


def told(outcome: Any) -> tuple[str, list[Any]]:
    document = outcome.json()
    assert [item["index"] for item in document["data"]] == list(range(len(document["data"])))
    return document["model"], [item["embedding"] for item in document["data"]]


@pytest.mark.parametrize(
    ("model", "vector", "differ"),
    [
        ("second", [0.1, 0.2, 0.3], "are of different models"),
        ("first", [0.1, 0.2], "differ in length"),
        ("first", "AAAAAAAAAAA=", "differ in length"),
    ],
)
async def test_a_batch_partly_of_another_model_is_asked_for_anew(
    upstream: Alias, backend: MemoryBackend, model: str, vector: Any, differ: str
) -> None:
    async with batches(upstream, backend) as cache:
        await cache.fetch(request(["a", "b"], control={"tags": ["t"]}))
        upstream.model, upstream.vector = model, vector
        outcome = await cache.fetch(request(["a", "c"]))
        assert told(outcome) == (model, [vector] * 2)
        assert (outcome.source, outcome.hit) == (Source.UPSTREAM, False)
        assert ANEW.format(differ) in outcome.reasons
        again = await cache.fetch(request(["c", "a"]))
        assert (told(again), again.source) == ((model, [vector] * 2), Source.EXACT)
        assert await cache.invalidate(tags=["t"]) == 2
    assert upstream.calls == [["a", "b"], ["c"], ["a", "c"]]


async def test_a_batch_stored_of_two_models_is_asked_for_anew_each_input_once(
    upstream: Alias, backend: MemoryBackend
) -> None:
    async with batches(upstream, backend) as cache:
        await cache.fetch(request("a"))
        upstream.model = "second"
        await cache.fetch(request("b"))
        with pytest.raises(NotCached, match="do not go together"):
            await cache.fetch(request(["a", "b"], control={"only_if_cached": True}))
        outcome = await cache.fetch(request(["a", "b", "a"]))
        assert told(outcome) == ("second", [upstream.vector] * 3)
        assert outcome.source is Source.UPSTREAM
        assert outcome.reasons == (ANEW.format("are of different models"),)
        again = await cache.fetch(request(["b", "a"]))
        assert (told(again)[0], again.source) == ("second", Source.EXACT)
    assert upstream.calls == [["a"], ["b"], ["a", "b"]]


async def test_failure_to_ask_anew_reaches_the_caller(upstream: Alias, backend: MemoryBackend) -> None:
    async with batches(upstream, backend) as cache:
        await cache.fetch(request("a"))
        upstream.model = "second"
        await cache.fetch(request("b"))
        upstream.error = UpstreamServerError("down", status=500)
        with pytest.raises(UpstreamServerError) as raised:
            await cache.fetch(request(["a", "b"]))
        assert raised.value is upstream.error
        assert (await cache.fetch(request("a"))).source is Source.EXACT


@pytest.mark.parametrize("inputs", [["a", "odd"], ["a", "odd", "a"]])
async def test_an_answer_with_vectors_of_two_lengths_is_passed_on_and_not_stored(
    upstream: Alias, backend: MemoryBackend, inputs: list[str]
) -> None:
    async with batches(upstream, backend) as cache:
        outcome = await cache.fetch(request(inputs))
        assert [len(vector) for vector in told(outcome)[1]] == [4 if each == "odd" else 3 for each in inputs]
        assert outcome.reasons == ("not stored: the embeddings differ in length",)
        assert (await cache.fetch(request("a"))).source is Source.UPSTREAM


async def test_a_batch_from_the_store_is_as_old_as_its_oldest_input(upstream: Alias) -> None:
    clock = FakeClock()
    async with batches(upstream, MemoryBackend(clock=clock), clock=clock) as cache:
        begun = clock.now()
        await cache.fetch(request("a"))
        clock.advance(10)
        await cache.fetch(request("b"))
        clock.advance(10)
        outcome = await cache.fetch(request(["b", "a"]))
        assert outcome.entry is not None
        assert (outcome.entry.created_at, outcome.age) == (begun, 20)
