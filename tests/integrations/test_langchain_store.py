"""Whose LangChain results are, for how long, and what happens when the store fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.outputs import Generation

from asynccache import CachePipeline
from asynccache._cached import cached
from asynccache._errors import BackendError, BackendUnavailable, ConfigurationError, CorruptEntry
from asynccache._events import Event, StageFailed
from asynccache._models import Response
from asynccache.instrumentation import structlog as logging
from asynccache.integrations.langchain import AsyncCacheLLM, LLMCacheStats
from asynccache.testing import FakeClock, FakeUpstream
from tests.integrations._langchain_cases import Watched, said

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/cache.db"


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    events: list[Event] = []
    monkeypatch.setattr(logging, "default_hook", events.append)
    return events


async def test_result_is_served_for_its_ttl_and_no_longer() -> None:
    clock = FakeClock()
    backend = Watched(clock)
    cache = AsyncCacheLLM(backend, ttl=60, clock=clock)
    await cache.aupdate("prompt", "model", [said("a")])
    clock.advance(30)
    assert await cache.alookup("prompt", "model") == [said("a")]
    assert await AsyncCacheLLM(backend, ttl=30, clock=clock).alookup("prompt", "model") is None
    clock.advance(30)
    assert await cache.alookup("prompt", "model") is None


async def test_ttl_none_keeps_for_ever_and_zero_stores_nothing() -> None:
    clock = FakeClock()
    backend = Watched(clock)
    nothing = AsyncCacheLLM(backend, ttl=0, clock=clock)
    await nothing.aupdate("prompt", "model", [said("a")])
    assert (nothing.stats().stored, await backend.entries()) == (0, [])
    await AsyncCacheLLM(backend, ttl=None, clock=clock).aupdate("prompt", "model", [said("a")])
    clock.advance(10**9)
    assert await AsyncCacheLLM(backend, ttl=None, clock=clock).alookup("prompt", "model") == [said("a")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"tenant": "a"}, {"tenant": "b"}),
        ({"tenant": "a"}, {"user": "a"}),
        ({"tenant": ""}, None),
        ({"namespace": "a"}, {"namespace": "a", "user": "x"}),
    ],
)
async def test_two_scopes_never_meet(one: Any, other: Any) -> None:
    backend = Watched()
    first, second = AsyncCacheLLM(backend, scope=one), AsyncCacheLLM(backend, scope=other)
    await first.aupdate("prompt", "model", [said("first")])
    assert await second.alookup("prompt", "model") is None
    await second.aupdate("prompt", "model", [said("second")])
    assert await first.alookup("prompt", "model") == [said("first")]
    await second.aclear()
    assert await first.alookup("prompt", "model") == [said("first")]
    assert await AsyncCacheLLM(backend, scope=one).alookup("prompt", "model") == [said("first")]


async def test_clear_leaves_pipelines_and_cached_functions_alone(url: str) -> None:
    runs: list[int] = []

    def define() -> Any:
        async def function(x: int) -> int:
            runs.append(x)
            return x

        return cached(backend=url)(function)

    async with CachePipeline(FakeUpstream(), backend=url, decision=None) as pipeline:
        await pipeline.ask("question")
    await define()(1)
    cache = AsyncCacheLLM(url)
    await cache.aupdate("prompt", "model", [said("a")])
    await cache.aclear()
    assert await cache.alookup("prompt", "model") is None
    await define()(1)
    assert runs == [1]
    async with CachePipeline(FakeUpstream(), backend=url, decision=None) as pipeline:
        assert (await pipeline.ask("question")).hit


async def test_tagged_results_fall_to_an_invalidation_by_a_pipeline() -> None:
    backend = Watched()
    cache = AsyncCacheLLM(backend, tags=["docs"])
    await cache.aupdate("prompt", "model", [said("a")])
    async with CachePipeline(FakeUpstream(), backend=backend, decision=None) as pipeline:
        await pipeline.invalidate(tags=["docs"])
    assert await cache.alookup("prompt", "model") is None


async def test_entry_says_what_it_cost_and_nothing_of_the_prompt() -> None:
    clock = FakeClock()
    cache = AsyncCacheLLM(backend := Watched(clock), ttl=60, clock=clock)
    usage: Any = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    await cache.aupdate("secret prompt", "model", [said("a", usage_metadata=usage), said("b")])
    (entry,) = await backend.entries()
    assert (entry.dialect, entry.question, entry.ttl, entry.created_at) == (
        "langchain",
        None,
        60,
        clock.now(),
    )
    assert (entry.cost.prompt_tokens, entry.cost.completion_tokens) == (3, 2)
    assert b"secret prompt" not in entry.response.body


async def test_clear_takes_no_filter_it_would_not_heed() -> None:
    cache = AsyncCacheLLM("memory://")
    with pytest.raises(TypeError, match="llm_string"):
        await cache.aclear(llm_string="model")
    with pytest.raises(TypeError, match="llm_string"):
        cache.clear(llm_string="model")


@pytest.mark.parametrize(
    "error", [BackendUnavailable("down"), OSError("not in the contract")], ids=["own", "foreign"]
)
async def test_failing_store_is_reported_and_passed_over(reported: list[Event], error: Exception) -> None:
    backend = Watched()
    cache = AsyncCacheLLM(backend)
    backend.error = error
    await cache.aupdate("prompt", "model", [said("a")])
    cache.update("prompt", "model", [said("a")])
    assert await cache.alookup("prompt", "model") is None
    assert cache.lookup("prompt", "model") is None
    assert cache.stats() == LLMCacheStats(hits=0, misses=2, stored=0, refused=0, errors=4)
    assert len(reported) == 4
    assert all(isinstance(each, StageFailed) and isinstance(each.error, BackendError) for each in reported)


async def test_strict_cache_raises_what_the_store_raised() -> None:
    backend = Watched()
    cache = AsyncCacheLLM(backend, strict=True)
    backend.error = BackendUnavailable("down")
    with pytest.raises(BackendUnavailable):
        await cache.alookup("prompt", "model")
    with pytest.raises(BackendUnavailable):
        await cache.aupdate("prompt", "model", [said("a")])
    with pytest.raises(BackendUnavailable):
        cache.lookup("prompt", "model")
    with pytest.raises(BackendUnavailable):
        cache.update("prompt", "model", [said("a")])


async def test_clear_that_fails_says_so() -> None:
    backend = Watched()
    cache = AsyncCacheLLM(backend)
    await cache.aupdate("prompt", "model", [said("a")])
    backend.error = BackendUnavailable("down")
    with pytest.raises(BackendUnavailable):
        await cache.aclear()
    with pytest.raises(BackendUnavailable):
        cache.clear()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{}",
        b"[]",
        b"[1]",
        b'[{"lc":1,"type":"secret","id":["SECRET_OF_THIS_TEST"]}]',
        (
            b'[{"lc":1,"type":"constructor","id":["langchain_core","prompts","prompt","PromptTemplate"],'
            b'"kwargs":{"template":"x","input_variables":[]}}]'
        ),
        (
            b'[{"lc":1,"type":"constructor","id":["langchain","schema","messages","AIMessage"],'
            b'"kwargs":{"content":"x"}}]'
        ),
        b'[{"lc":1,"type":"constructor","id":["langchain","schema","output","ChatGeneration"],"kwargs":{}}]',
        b"[" + b'{"a":' * 1000 + b"1" + b"}" * 1000 + b"]",
    ],
)
async def test_damaged_or_planted_entry_is_a_miss(
    reported: list[Event], monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setenv("SECRET_OF_THIS_TEST", "never told")
    cache = AsyncCacheLLM(backend := Watched())
    await cache.aupdate("prompt", "model", [said("a")])
    (entry,) = await backend.entries()
    await backend.put(replace(entry, response=Response(body)))
    assert await cache.alookup("prompt", "model") is None
    assert cache.lookup("prompt", "model") is None
    assert cache.stats() == LLMCacheStats(hits=0, misses=2, stored=1, refused=0, errors=2)
    assert all(isinstance(each, StageFailed) and isinstance(each.error, CorruptEntry) for each in reported)


async def plant(backend: Watched, cache: AsyncCacheLLM, document: bytes) -> None:
    """Store an answer, and put something else where it says PLANT."""
    await cache.aupdate("prompt", "model", [Generation(text="a", generation_info={"x": "PLANT"})])
    (entry,) = await backend.entries()
    body = entry.response.body.replace(b'"PLANT"', document)
    await backend.put(replace(entry, response=Response(body)))


async def test_secret_planted_in_an_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THIS_TEST", "never told")
    cache = AsyncCacheLLM(backend := Watched())
    await plant(backend, cache, b'{"lc":1,"type":"secret","id":["SECRET_OF_THIS_TEST"]}')
    assert await cache.alookup("prompt", "model") == [Generation(text="a", generation_info={"x": None})]


async def test_object_planted_in_an_answer_is_not_made(reported: list[Event]) -> None:
    cache = AsyncCacheLLM(backend := Watched())
    await plant(
        backend,
        cache,
        b'{"lc":1,"type":"constructor","id":["langchain_core","prompts","prompt","PromptTemplate"],'
        b'"kwargs":{"template":"x","input_variables":[]}}',
    )
    assert await cache.alookup("prompt", "model") is None
    assert len(reported) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ttl": -1}, "ttl: expected zero or more"),
        ({"ttl": "1"}, "ttl: expected seconds"),
        ({"tags": "docs"}, "tags: expected a sequence"),
        ({"scope": {"team": "x"}}, "scope.team: unknown"),
        ({"backend": 7}, "expected a URL or a Backend"),
        ({"backend": "memory://?nonsense=1"}, "unknown option"),
        ({"backend": "redsi://x"}, "unknown backend scheme"),
    ],
)
def test_option_that_cannot_work_is_refused_at_once(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        AsyncCacheLLM(**options)


def test_default_store_is_the_file_of_pipelines(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr("asynccache.integrations.langchain.default_backend_url", lambda: url)
    AsyncCacheLLM().update("prompt", "model", [said("a")])
    assert AsyncCacheLLM(url).lookup("prompt", "model") == [said("a")]
