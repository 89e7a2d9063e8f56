"""The semantic tier as a whole: the bundled model, the index, and a store under them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asynccache import CachePipeline, Event, SemanticTierChanged, Source
from asynccache.backends import SqliteBackend
from asynccache.testing import FakeEmbedder, FakeUpstream

pytestmark = pytest.mark.anyio


async def echo(body: Mapping[str, Any]) -> str:
    await asyncio.sleep(0)
    return f"you said {body['messages'][-1]['content']}"


@pytest.fixture(params=["memory", "sqlite", "sqlite alone"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {
        "memory": "memory://",
        "sqlite": f"sqlite:///{tmp_path}/cache.db",
        "sqlite alone": f"sqlite:///{tmp_path}/cache.db?memory=0",
    }[request.param]


@pytest.fixture
async def cache(store: str) -> AsyncIterator[CachePipeline]:
    made = CachePipeline(echo, backend=store, decision="threshold", threshold=0.85, strict=True)
    async with made as opened:
        yield opened


async def test_a_question_in_other_words_is_answered_with_the_bundled_model(cache: CachePipeline) -> None:
    await cache.ask("How do I freeze my card?")
    near = await cache.ask("How can I freeze my card?")
    far = await cache.ask("What is the exchange rate for euros?")
    assert (near.text, near.source) == ("you said How do I freeze my card?", Source.SEMANTIC)
    assert near.similarity is not None
    assert 0.95 < near.similarity < 1
    assert far.source is Source.UPSTREAM
    stats = cache.stats()
    assert (stats.semantic_hits, stats.hits, stats.wrong_hit_rate) == (1, 1, None)


async def test_an_invalidated_answer_is_not_found_in_other_words(cache: CachePipeline) -> None:
    await cache.ask("How do I freeze my card?", control={"tags": ["cards"]})
    assert await cache.invalidate(tags=["cards"]) == 1
    assert (await cache.ask("How can I freeze my card?")).source is Source.UPSTREAM


async def test_a_question_beyond_the_models_window_is_exact_only_and_says_so(cache: CachePipeline) -> None:
    question = "Please summarise this: " + "word " * 400
    first = await cache.ask(question)
    assert (await cache.ask(question)).source is Source.EXACT
    assert any("window" in reason for reason in first.reasons)


async def test_what_was_learned_outlives_the_process(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "backend": f"sqlite:///{tmp_path}/cache.db",
        "decision": "threshold",
        "threshold": 0.85,
        "strict": True,
    }
    async with CachePipeline(echo, **options) as cache:
        await cache.ask("How do I freeze my card?")
    silent = FakeUpstream()
    async with CachePipeline(silent, **options) as cache:
        again = await cache.ask("How can I freeze my card?")
    assert (again.source, silent.calls) == (Source.SEMANTIC, [])


async def test_two_pipelines_on_one_store_learn_from_each_other(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "decision": "threshold",
        "threshold": 0.7,
        "embedder": FakeEmbedder(),
        "strict": True,
    }
    path = tmp_path / "cache.db"
    async with (
        CachePipeline(echo, backend=SqliteBackend(path), **options) as one,
        CachePipeline(echo, backend=SqliteBackend(path), **options) as other,
    ):
        await other.ask("nothing of the kind")  # its index is loaded now
        await one.ask("how do i freeze my card")
        await other.flush()
        assert (await other.ask("how do i freeze my card please")).source is Source.SEMANTIC


async def test_tenants_never_meet(store: str) -> None:
    upstream = FakeUpstream("for a", "for b")
    options: dict[str, Any] = {"embedder": FakeEmbedder(), "decision": "threshold", "threshold": 0.5}
    async with CachePipeline(upstream, backend=store, strict=True, **options) as cache:
        await cache.ask("how do i freeze my card", scope={"tenant": "a"})
        other = await cache.ask("how do i freeze my card", scope={"tenant": "b"})
        assert other.text == "for b"
        for tenant in ("a", "b"):
            near = await cache.ask("how do i freeze my card please", scope={"tenant": tenant})
            assert (near.text, near.source) == (f"for {tenant}", Source.SEMANTIC)


async def test_vectors_of_another_embedder_are_never_compared(tmp_path: Path) -> None:
    backend = f"sqlite:///{tmp_path}/cache.db"
    for name in ("one", "two"):
        embedder = FakeEmbedder(name=name)
        options: dict[str, Any] = {"decision": "threshold", "threshold": 0.5, "strict": True}
        async with CachePipeline(echo, backend=backend, embedder=embedder, **options) as cache:
            asked = await cache.ask(f"how do i freeze my card {name}")
            assert asked.source is Source.UPSTREAM


async def test_history_may_be_left_out_of_what_must_be_equal(tmp_path: Path) -> None:
    def talk(greeting: str, question: str) -> dict[str, Any]:
        return {
            "messages": [
                {"role": "user", "content": greeting},
                {"role": "assistant", "content": "Hello."},
                {"role": "user", "content": question},
            ]
        }

    for history, source in [("equal", Source.UPSTREAM), ("ignore", Source.SEMANTIC)]:
        async with CachePipeline(
            echo,
            backend=f"sqlite:///{tmp_path}/{history}.db",
            decision="threshold",
            threshold=0.5,
            embedder=FakeEmbedder(),
            history=history,
            strict=True,
        ) as cache:
            await cache.fetch(talk("Hi!", "how do i freeze my card"))
            asked = await cache.fetch(talk("Good morning.", "how do i freeze my card please"))
            assert asked.source is source


async def test_any_async_function_may_be_the_embedder() -> None:
    async def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        await asyncio.sleep(0)
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    async with CachePipeline(
        echo, backend="memory://", decision="threshold", embedder=embed, strict=True
    ) as cache:
        await cache.ask("abcde")
        assert (await cache.ask("vwxyz!")).source is Source.SEMANTIC


async def test_without_its_packages_the_exact_tier_works_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("asynccache.index")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numpy", None)
    events: list[Event] = []
    cache = CachePipeline(echo, backend="memory://", decision="threshold", hooks=[events.append])
    async with cache:
        await cache.ask("q")
        assert (await cache.ask("q")).source is Source.EXACT
    (told,) = [event for event in events if isinstance(event, SemanticTierChanged)]
    assert 'pip install "asynccache[semantic]"' in str(told.error)


async def test_an_unknown_model_leaves_the_exact_tier_and_is_not_downloaded(tmp_path: Path) -> None:
    events: list[Event] = []
    async with CachePipeline(
        echo,
        backend="memory://",
        decision="threshold",
        embedder=str(tmp_path),
        hooks=[events.append],
    ) as cache:
        outcome = await cache.ask("q")
        assert (await cache.ask("q")).source is Source.EXACT
    assert outcome.reasons == ("no semantic lookup: the embedder is unavailable",)
    assert len([event for event in events if isinstance(event, SemanticTierChanged)]) == 1
