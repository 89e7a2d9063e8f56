"""The public surface, as type checkers see it. Read by mypy and pyright; never run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_type

import httpx
import httpx2
from aiohttp import web
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response as StarletteResponse

from asynccache import (
    Account,
    Accountable,
    AnswerEquivalence,
    AnswerPair,
    AnswerStream,
    Backend,
    Boarding,
    CachePipeline,
    Candidate,
    Changes,
    Check,
    Chunk,
    Comparing,
    Conditional,
    Confirming,
    Control,
    Decision,
    Dialect,
    Divisible,
    Embedder,
    Entry,
    Estimate,
    Exchange,
    Feed,
    FlightLog,
    Flights,
    HitAudited,
    Hook,
    Judgement,
    Label,
    LabelPage,
    Labels,
    Learning,
    Managed,
    Outcome,
    Progress,
    PromiseChanged,
    Request,
    Response,
    Ruling,
    Saved,
    Scope,
    SemanticIndex,
    Source,
    Stage,
    Stats,
    Stream,
    Taggable,
    Upstream,
    Vectors,
    cached,
    open_backend,
)
from asynccache.backends import MemoryBackend, RedisBackend, SqliteBackend, Tiered
from asynccache.decision import (
    GUARDS,
    BuiltinJudge,
    Guarded,
    LLMJudge,
    PairScore,
    Prepared,
    Prior,
    PromisedDecision,
    Remembering,
    VCacheDecision,
    VCachePolicy,
    foreign,
    prepare,
)
from asynccache.decision.cross_encoder import CrossEncoderVerifier
from asynccache.decision.llm_verifier import LLMVerifier
from asynccache.decision.verifier import VerifiedDecision
from asynccache.dialects import ChatCompletions, Completions, Embeddings, Messages, Responses
from asynccache.embedders import CallableEmbedder, FastEmbedEmbedder, UpstreamEmbedder, as_embedder
from asynccache.index import BackendIndex
from asynccache.integrations import aiohttp
from asynccache.integrations.fastapi import CacheDep, answer_request, cache_lifespan, cache_response
from asynccache.integrations.httpx import CacheTransport as HttpxTransport
from asynccache.integrations.httpx2 import CacheTransport
from asynccache.integrations.langchain import AsyncCacheLLM, LLMCacheStats
from asynccache.stages import (
    Audit,
    Divided,
    ExactLookup,
    Learn,
    Leased,
    MissHandler,
    Normalize,
    PrefixBreak,
    PrefixWatch,
    PromptShaper,
    SemanticLookup,
    SingleFlight,
    StaleIfError,
    Threshold,
    Validate,
    Write,
    WriteAlias,
)
from asynccache.testing import (
    FakeDecision,
    FakeJudge,
    FakeUpstream,
    FaultProxy,
    Faults,
    RedisServer,
    make_label,
    redis_cluster,
    redis_sentinel,
)
from asynccache.upstreams import (
    CallableUpstream,
    OpenAIUpstream,
    PrefixRouter,
    VLLMUpstream,
    prefix_key,
)
from asynccache.upstreams.vllm import PrefixReport, PrewarmReport, ReplicaMetrics


async def model(body: Mapping[str, Any]) -> str:
    return str(body)


async def stage(exchange: Exchange) -> Exchange:
    return exchange


def check(request: Request, candidate: Candidate) -> str | None:
    return None


def hook(event: object) -> None: ...


async def asking(cache: CachePipeline) -> None:
    outcome = await cache.ask(
        "q", system="s", model="m", scope={"tenant": "t"}, control=Control(ttl=1), seed=1
    )
    assert_type(outcome, Outcome)
    assert_type(outcome.text, str)
    assert_type(outcome.body, bytes)
    assert_type(outcome.source, Source)
    assert_type(outcome.hit, bool)
    assert_type(outcome.similarity, float | None)
    assert_type(outcome.age, float | None)
    assert_type(outcome.saved, Saved)
    assert_type(outcome.reasons, tuple[str, ...])
    assert_type(await cache.chat(messages=[{"role": "user", "content": "q"}], scope=Scope(user="u")), Outcome)
    assert_type(await cache.fetch(Request(body={})), Outcome)
    async with cache.stream(messages=[]) as stream:
        assert_type(stream, AnswerStream)
        async for chunk in stream:
            assert_type(chunk, Chunk)
            assert_type(chunk.text, str)
        assert_type(stream.outcome, Outcome)
    assert_type(outcome.judgement, Judgement | None)
    assert_type(outcome.request, Request)
    assert_type(await cache.reject(outcome), bool)
    assert_type(await cache.accept(outcome), bool)
    assert_type(await cache.invalidate(tags=["a"]), int)
    assert_type(cache.stats(), Stats)
    assert_type(cache.stats().learnt, Account | None)
    assert_type(cache.stats().wrong_hit_rate, float | None)
    assert_type(cache.stats().wrong_hit_interval, tuple[float, float] | None)
    await cache.flush()


async def sharing(backend: RedisBackend, entry: Entry) -> None:
    feed: Feed = backend
    flights: Flights = backend
    assert_type(feed.position(entry.key), int)
    assert_type(await (await feed.fill(entry, since=None)), int | None)
    assert_type(await feed.generations([entry.key]), list[int | None])
    assert_type(await feed.voided(entry.key, ["tag"], 1), bool)
    assert_type(await feed.changes(None), Changes)
    await feed.news(1.0)
    boarding = await flights.board(b"", key=entry.key, tags=(), seconds=5.0)
    assert_type(boarding, Boarding)
    assert_type(await flights.renew(b"", boarding.number, seconds=5.0), bool)
    assert_type(await flights.append(b"", boarding.number, [], end="whole"), bool)
    assert_type(await flights.log(b"", boarding.number, after=0), FlightLog)
    tiered: object = Tiered(MemoryBackend(), backend)
    if isinstance(tiered, Confirming):
        assert_type(await tiered.confirmed([entry.key]), list[Entry | None])


async def servers() -> None:
    with RedisServer() as server, redis_cluster(masters=3, replicas=1) as cluster, redis_sentinel() as trio:
        assert_type(server.url, str)
        server.pause()
        server.resume()
        assert_type(cluster.master_of(b"key"), RedisServer)
        assert_type(trio.master(), RedisServer)
    async with FaultProxy("127.0.0.1", server.port) as proxy:
        proxy.replies = Faults(delay=(0.0, 0.1), fragment=7)
        proxy.cut()


def building(backend: Backend, upstream: Upstream, stages: Sequence[Stage]) -> None:
    CachePipeline(model, backend=backend, hooks=[hook], prices={"m": (1.0, 2.0)})
    CachePipeline(model, backend="redis://", consistency="strong")
    RedisBackend([("localhost", 6379)], password="p", tls={}, vectors="int8", op_timeout=0.05)
    RedisBackend([("localhost", 26379)], sentinel="main", address_remap=lambda address: address)
    SingleFlight(Leased(MissHandler(upstream), Write(backend), flights=backend), feed=backend)
    CachePipeline("http://localhost/v1", api_key="k", default_model="m", ttl=None)
    CachePipeline(upstream, abandoned="finish")
    CachePipeline(stages=[*stages, stage, Normalize(), ExactLookup(backend), Validate(check)])
    CachePipeline(stages=[SingleFlight(MissHandler(upstream), Write(backend))])
    assert_type(open_backend("memory://"), Backend)


async def texts_to_vectors(texts: Sequence[str]) -> list[list[float]]:
    return [[1.0, 0.0] for _ in texts]


def meaning(memory: MemoryBackend, sqlite: SqliteBackend) -> None:
    CachePipeline(model, decision="threshold", threshold={"faq": 0.9, None: 0.95}, history="last:2")
    CachePipeline(model, decision="threshold", embedder=texts_to_vectors, threshold_floor=0.9)
    vectors: list[Vectors] = [memory, sqlite]
    conditional: list[Conditional] = [memory, sqlite]
    embedders: list[Embedder] = [
        FastEmbedEmbedder(),
        CallableEmbedder(texts_to_vectors, name="mine"),
        UpstreamEmbedder("http://h/v1", "m"),
        as_embedder("default"),
    ]
    index: SemanticIndex = BackendIndex(sqlite)
    threshold: Check = Threshold(0.9, floor=0.8)
    stages: list[Stage] = [
        SemanticLookup(sqlite, index, embedders[0]),
        Validate(decision=threshold),
        WriteAlias(sqlite, index),
        Write(sqlite, index=index),
    ]
    del vectors, conditional, stages


async def slow_check(request: Request, candidate: Candidate) -> str | None:
    return None


async def verify(asked: str, stored: str, answer: str) -> bool | None:
    return None


def deciding(sqlite: SqliteBackend, upstream: Upstream, stage: Stage, pair: AnswerPair) -> None:
    judges: list[AnswerEquivalence] = [
        BuiltinJudge(),
        LLMJudge(upstream, fallback=BuiltinJudge()),
        FakeJudge(),
    ]
    promised = PromisedDecision(sqlite, max_error=0.01, shadow=True, prior=Prior(1.0, 1.0, 100.0))
    verified = VerifiedDecision(promised, LLMVerifier(upstream, model="m"), grey=(-1.0, 1.0))
    decisions: list[Decision] = [
        promised,
        Guarded(promised, [GUARDS["numbers"], check]),
        Remembering(promised, sqlite),
        VCacheDecision(0.02),
        VerifiedDecision(promised, CrossEncoderVerifier("folder", threshold=0.5)),
        verified,
        FakeDecision(),
    ]
    comparing: list[Comparing] = [promised, FakeDecision()]
    learning: list[Learning] = [promised, VCacheDecision(0.02), FakeDecision()]
    accountable: Accountable = promised
    labels: Labels = sqlite
    stages: list[Stage] = [
        Learn(learning[0], judges[0]),
        Audit(stage, stage, decision=promised, judge=judges[0], share=0.02),
        Validate(decision=promised),
        SingleFlight(stage, near=promised),
    ]
    assert_type(accountable.account().wrong, Estimate | None)
    assert_type(make_label(at=1.0), Label)
    assert_type(prepare("q"), Prepared)
    assert_type(foreign(prepare("q")), bool)
    assert_type(PairScore.load().bound, bool)
    assert_type(VCachePolicy(0.02).decide(b"k", 0.9), tuple[bool, float])
    events: list[type] = [HitAudited, PromiseChanged, Ruling, LabelPage]
    CachePipeline(model, decision="promise", max_error=0.05, audit=0.02, guards=["numbers", check])
    CachePipeline(model, decision="judge", verifier=verify, judge=judges[0])
    CachePipeline(model, decision=slow_check)
    CachePipeline(model, decision=check)
    CachePipeline(model, decision=promised)
    del decisions, comparing, labels, stages, events, pair


def promises(memory: MemoryBackend, sqlite: SqliteBackend, tiered: Tiered) -> None:
    backends: list[Backend] = [memory, sqlite, tiered]
    taggable: list[Taggable] = [memory, sqlite, tiered]
    managed: list[Managed] = [memory, sqlite, tiered, SingleFlight()]
    upstreams: list[Upstream] = [FakeUpstream(), CallableUpstream(model), OpenAIUpstream("http://h/v1")]
    hooks: list[Hook] = [hook]
    checks: list[Check] = [check]
    del backends, taggable, managed, upstreams, hooks, checks


async def integrating(cache: CachePipeline) -> None:
    httpx2.AsyncClient(transport=CacheTransport(cache, renew_ids=True, scope={"user": "u"}))
    httpx2.Client(transport=CacheTransport())
    httpx.AsyncClient(transport=HttpxTransport(cache, httpx.AsyncHTTPTransport()))
    llm = AsyncCacheLLM("memory://", ttl=None)
    assert_type(llm.stats(), LLMCacheStats)
    assert_type(cache.is_open, bool)
    dialects: list[Dialect] = [ChatCompletions(), Completions(), Embeddings(), Messages(), Responses()]
    divisible: Divisible = Embeddings()
    progress: Progress = ChatCompletions().progress()
    del dialects, divisible, progress


async def serving(cache: CachePipeline, request: StarletteRequest, asked: web.Request) -> None:
    FastAPI(lifespan=cache_lifespan(cache))
    Starlette(lifespan=cache_lifespan(lambda: cache))
    assert_type(cache_response(cache.stream(messages=[])), StarletteResponse)
    assert_type(await answer_request(cache, request, dialect="messages"), StarletteResponse)
    app = web.Application()
    app.cleanup_ctx.append(aiohttp.cache_ctx(cache))
    assert_type(app[aiohttp.CACHE], CachePipeline)
    assert_type(await aiohttp.cache_response(asked, await cache.ask("q")), web.StreamResponse)


async def route(cache: CacheDep) -> None:
    assert_type(cache, CachePipeline)


async def partnering() -> None:
    vllm = VLLMUpstream(["http://a/v1", "http://b/v1"], router=PrefixRouter(["http://a/v1", "http://b/v1"]))
    watch = PrefixWatch(recent=2)
    async with CachePipeline(vllm, shaper=PromptShaper(volatile=True, watch=watch)) as cache:
        assert_type(await vllm.prewarm(budget_requests=1), PrewarmReport)
        assert_type(await vllm.metrics(), dict[str, ReplicaMetrics])
        assert_type(vllm.report(), PrefixReport)
        assert_type(vllm.report().prefilled_per_request(cache.stats()), float | None)
    assert_type(watch.see({}, Scope()), PrefixBreak | None)
    assert_type(prefix_key({}, salt="s"), bytes)
    stages: list[Stage] = [PromptShaper(), StaleIfError()]
    Divided(MemoryBackend(), normalize=Normalize(), asking=MissHandler(None), write=Write(MemoryBackend()))
    del stages


class OwnUpstream:
    async def fetch(self, request: Request) -> Response:
        return Response(b"{}")

    async def stream(self, request: Request) -> Stream:
        raise NotImplementedError


@cached
async def plain(item: str, *, size: int = 1) -> float:
    return float(size)


@cached(ttl=1, max_size=2, backend="memory://")
def sync(item: str) -> list[str]:
    return [item]


async def calling() -> None:
    assert_type(await plain("a", size=2), float)
    assert_type(sync("a"), list[str])
    assert_type(plain.cache_stats().hits, int)
    CachePipeline(OwnUpstream())
