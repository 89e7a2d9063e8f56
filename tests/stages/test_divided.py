"""A batch of inputs is answered input by input, and only what is missing is asked for."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from asynccache import (
    BackendUnavailable,
    EntryRefused,
    Exchange,
    InvalidRequest,
    NotCached,
    Request,
    Scope,
    Source,
    StageFailed,
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamBusy,
    UpstreamServerError,
)
from asynccache._models import Entry, Response
from asynccache._stream import Stream
from asynccache.backends import MemoryBackend
from asynccache.testing import FakeClock, FakeUpstream
from tests.stages._batches import EmbeddingServer, batches, document, expected, request, vectors

pytestmark = pytest.mark.anyio


@pytest.fixture
def upstream() -> EmbeddingServer:
    return EmbeddingServer()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> MemoryBackend:
    return MemoryBackend(clock=clock)


async def test_only_inputs_that_are_not_stored_are_asked_for(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        first = await cache.fetch(request(["a", "b"]))
        second = await cache.fetch(request(["c", "b", "a", "d"]))
        third = await cache.fetch(request(["d", "c"]))
    assert upstream.calls == [["a", "b"], ["c", "d"]]
    assert (first.source, second.source, third.source) == (Source.UPSTREAM, Source.UPSTREAM, Source.EXACT)
    assert vectors(second) == expected(["c", "b", "a", "d"])
    assert (first.reasons, second.reasons, third.reasons) == ((), ("2 of 4 inputs were stored",), ())


async def test_a_batch_answers_single_requests_and_they_answer_batches(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request(["a", "b"]))
        for given in ("a", ["b"]):
            single = await cache.fetch(request(given))
            assert single.source is Source.EXACT
            assert vectors(single) == expected([given[0]])
        await cache.fetch(request("c"))
        assert (await cache.fetch(request(["c", "a"]))).source is Source.EXACT
    assert upstream.calls == [["a", "b"], ["c"]]


async def test_equal_inputs_of_one_batch_are_asked_for_once(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        outcome = await cache.fetch(request(["a", "b", "a", "a"]))
        again = await cache.fetch(request(["a", "a"]))
    assert upstream.calls == [["a", "b"]]
    assert vectors(outcome) == expected(["a", "b", "a", "a"])
    assert outcome.json()["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert (vectors(again), again.source) == (expected(["a", "a"]), Source.EXACT)


async def test_lists_of_tokens_are_divided_and_a_list_of_tokens_is_one_input(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request([1, 2]))
        outcome = await cache.fetch(request([[1, 2], [3]]))
    assert upstream.calls == [[[1, 2]], [[3]]]
    assert vectors(outcome) == expected([[1, 2], [3]])
    assert outcome.json()["usage"]["total_tokens"] == 3


async def test_a_cold_batch_goes_up_and_comes_down_as_it_is(backend: MemoryBackend, clock: FakeClock) -> None:
    usage = {"prompt_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}  # nobody can share it out
    upstream = FakeUpstream({**document(["a", "b"]), "usage": usage})
    asked = request(["a", "b"], user="u", encoding_format="float")
    async with batches(upstream, backend, clock=clock) as cache:
        outcome = await cache.fetch(asked)
    assert upstream.calls == [asked.body]
    assert outcome.json() == {**document(["a", "b"]), "usage": usage}


async def test_what_is_asked_for_keeps_the_other_fields(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request("a", dimensions=3))
        await cache.fetch(request(["a", "b", "c"], dimensions=3, user="u"))
    assert upstream.bodies[1] == {"model": "e", "input": ["b", "c"], "dimensions": 3, "user": "u"}


@pytest.mark.parametrize(
    "other",
    [
        {"model": "f"},
        {"dimensions": 3},
        {"encoding_format": "base64"},
        {"encoding_format": "float"},
        {"unknown": 1},
    ],
)
async def test_requests_that_differ_in_more_than_inputs_share_nothing(
    other: dict[str, Any], upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request(["a", "b"]))
        await cache.fetch(request(["a", "b"], **other))
    assert upstream.calls == [["a", "b"]] * 2


async def test_scopes_share_nothing(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    body = {"model": "e", "input": ["a", "b"]}
    async with batches(upstream, backend, clock=clock) as cache:
        for tenant in ("one", "other", "one"):
            await cache.fetch(Request(dialect="embeddings", body=body, scope=Scope(tenant=tenant)))
    assert upstream.calls == [["a", "b"]] * 2


async def test_a_whole_hit_tells_its_age_and_what_it_saved(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock, prices={"e": (1e6, 0)}) as cache:
        await cache.fetch(request(["aa"]))
        clock.advance(5)
        partial = await cache.fetch(request(["aa", "bbb"]))
        clock.advance(5)
        outcome = await cache.fetch(request(["aa", "bbb"]))
    assert (partial.hit, partial.age, partial.saved.tokens) == (False, None, 0)
    assert (outcome.hit, outcome.age) == (True, 10)
    assert (outcome.saved.tokens, outcome.saved.money) == (5, 5)


async def test_inputs_that_were_made_together_save_the_time_of_one_call(
    backend: MemoryBackend, clock: FakeClock
) -> None:
    async def upstream(body: dict[str, Any]) -> dict[str, Any]:
        clock.advance(len(body["input"]))
        return document(body["input"])

    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request(["a", "b"]))
        await cache.fetch(request(["c", "d", "e"]))
        assert (await cache.fetch(request(["a", "b", "c", "d"]))).saved.seconds == 3


async def test_a_request_that_bypasses_the_cache_is_not_divided(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async def bypass(exchange: Exchange) -> Exchange:
        return exchange.bypassing("asked to")

    async with batches(upstream, backend, first=bypass, clock=clock) as cache:
        for _ in range(2):
            assert vectors(await cache.fetch(request(["a", "a"]))) == expected(["a", "a"])
    assert upstream.calls == [["a", "a"]] * 2


async def test_nothing_is_shared_with_a_pipeline_that_was_closed(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    cache = batches(upstream, backend, clock=clock)
    for _ in range(2):
        async with cache:
            await cache.fetch(request(["a", "b"]))
            await backend.clear()
    assert upstream.calls == [["a", "b"]] * 2


async def test_a_stream_is_refused_at_the_door(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        for given in (["a", "b"], "a"):
            with pytest.raises(InvalidRequest, match=r"^stream: "):
                async with cache.stream(request(given)):
                    pass
        await cache.fetch(request("a"))
        with pytest.raises(InvalidRequest, match=r"^stream: "):  # a stored one as well
            async with cache.stream(request("a")):
                pass
    assert upstream.calls == [["a"]]


async def test_other_dialects_pass(backend: MemoryBackend, clock: FakeClock) -> None:
    async with batches(FakeUpstream(), backend, clock=clock) as cache:
        assert (await cache.ask("q", model="m")).text == "answer 1"
        assert (await cache.ask("q", model="m")).source is Source.EXACT
        async with cache.stream(messages=[{"role": "user", "content": "q"}], model="m") as stream:
            assert (await stream.collect()).text == "answer 1"


# --- What a request asks of the cache.


async def test_no_cache_asks_for_all_and_stores_it_anew(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request(["a", "b"]))
        clock.advance(5)
        await cache.fetch(request(["a", "b"], control={"no_cache": True}))
        assert (await cache.fetch(request("a"))).age == 0
    assert upstream.calls == [["a", "b"]] * 2


@pytest.mark.parametrize("control", [{"no_store": True}, {"ttl": 0}])
async def test_what_must_not_be_stored_is_not(
    control: dict[str, Any], upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request("a"))
        outcome = await cache.fetch(request(["a", "b"], control=control))
        assert vectors(outcome) == expected(["a", "b"])
        await cache.fetch(request("b"))
    assert upstream.calls == [["a"], ["b"], ["b"]]


async def test_only_if_cached_needs_every_input(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    control = {"only_if_cached": True}
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request(["a", "b"]))
        assert (await cache.fetch(request(["b", "a"], control=control))).source is Source.EXACT
        with pytest.raises(NotCached, match="only 2 of 3 inputs"):
            await cache.fetch(request(["b", "a", "c"], control=control))
    assert upstream.calls == [["a", "b"]]


async def test_inputs_that_are_too_old_are_asked_for_anew(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request("a"))
        clock.advance(10)
        await cache.fetch(request("b"))
        outcome = await cache.fetch(request(["a", "b"], control={"max_age": 5}))
    assert upstream.calls == [["a"], ["b"], ["a"]]
    assert outcome.reasons == ("older than max_age", "1 of 2 inputs were stored")


async def test_each_input_lives_as_long_as_was_asked_for(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request(["a", "b"], control={"ttl": 10}))
        clock.advance(11)
        await cache.fetch(request(["a", "b"]))
    assert upstream.calls == [["a", "b"]] * 2


async def test_a_tag_forgets_every_input_stored_under_it(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request(["a", "b"], control={"tags": ["t"]}))
        await cache.fetch(request("c"))
        assert await cache.invalidate(tags=["t"]) == 2
        await cache.fetch(request(["a", "b", "c"]))
    assert upstream.calls == [["a", "b"], ["c"], ["a", "b"]]


async def test_inputs_under_other_tags_are_stored_under_both(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request(["a", "b"], control={"tags": ["t"]}))
        outcome = await cache.fetch(request(["a", "b"], control={"tags": ["u"]}))
        assert outcome.reasons == ("not stored under these tags",)
        assert await cache.invalidate(tags=["t"]) == 2


async def test_versions_share_nothing(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        for version in ("1", "2", "1"):
            await cache.fetch(request(["a", "b"], control={"version": version}))
    assert upstream.calls == [["a", "b"]] * 2


async def test_a_request_may_bring_its_own_upstream(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    own = OwnUpstream()
    brought = Request(dialect="embeddings", body={"model": "e", "input": ["a", "b"]}, upstream=own)
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request("a"))
        await cache.fetch(brought)
    assert (upstream.calls, own.asked) == ([["a"]], [["b"]])


class OwnUpstream:
    """What one request brings along."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def fetch(self, request: Request) -> Response:
        self.asked.append(request.body["input"])
        return Response(orjson.dumps(document(request.body["input"])))

    async def stream(self, request: Request) -> Stream:
        raise AssertionError(request)


# --- What goes wrong.


@pytest.mark.parametrize("error", [UpstreamBusy("busy", status=503), ValueError("mine")])
async def test_the_upstreams_error_reaches_the_caller_and_nothing_is_stored(
    error: Exception, upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request("a"))
        upstream.failures.append(error)
        with pytest.raises(type(error)) as caught:
            await cache.fetch(request(["a", "b"]))
        assert caught.value is error
        await cache.fetch(request(["a", "b"]))
    assert upstream.calls == [["a"], ["b"], ["b"]]


async def test_inputs_that_are_too_old_stand_in_when_the_upstream_fails(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    control = {"max_age": 5, "stale_if_error": 60}
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request(["a", "b"]))
        clock.advance(10)
        await cache.fetch(request("c"))
        upstream.failures.append(UpstreamBusy("busy", status=503))
        outcome = await cache.fetch(request(["a", "c", "b", "a"], control=control))
        assert vectors(outcome) == expected(["a", "c", "b", "a"])
        assert (outcome.source, outcome.age) == (Source.STALE, 10)
        assert outcome.reasons == ("older than max_age", "the upstream failed (UpstreamBusy)")
        assert (await cache.fetch(request(["a", "b"], control=control))).source is Source.UPSTREAM
    assert upstream.calls == [["a", "b"], ["c"], ["a", "b"], ["a", "b"]]


@pytest.mark.parametrize(
    ("given", "control", "error"),
    [
        (["a", "b", "new"], {"max_age": 5, "stale_if_error": 60}, UpstreamBusy("busy")),
        (["a", "b"], {"max_age": 5, "stale_if_error": 3}, UpstreamBusy("busy")),
        (["a", "b"], {"max_age": 5}, UpstreamBusy("busy")),
        (["a", "b"], {"max_age": 5, "stale_if_error": 60}, UpstreamBadRequest("no")),
        (["a", "b"], {"max_age": 5, "stale_if_error": 60}, UpstreamAuth("no")),
    ],
)
async def test_nothing_stands_in_that_may_not(
    given: list[str],
    control: dict[str, Any],
    error: Exception,
    upstream: EmbeddingServer,
    backend: MemoryBackend,
    clock: FakeClock,
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request(["a", "b"]))
        clock.advance(10)
        upstream.failures.append(error)
        with pytest.raises(type(error)):
            await cache.fetch(request(given, control=control))


async def test_nothing_stands_in_that_was_invalidated_meanwhile(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async def failing(body: dict[str, Any]) -> dict[str, Any]:
        if clock.now() > started:
            await cache.invalidate(request("a"))
            raise UpstreamBusy("busy")
        return await upstream(body)

    started = clock.now()
    async with batches(failing, backend, clock=clock) as cache:
        await cache.fetch(request(["a", "b"]))
        clock.advance(10)
        with pytest.raises(UpstreamBusy):
            await cache.fetch(request(["a", "b"], control={"max_age": 5, "stale_if_error": 60}))


async def test_an_error_document_reaches_the_caller(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    upstream.failures.append({"error": {"message": "no"}})
    async with batches(upstream, backend, clock=clock) as cache:
        with pytest.raises(UpstreamServerError):
            await cache.fetch(request(["a", "b"]))
        assert [entry async for entry in backend.scan()] == []


async def test_a_wrong_number_of_embeddings_for_a_whole_batch_is_passed_on_and_not_stored(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    events: list[object] = []
    upstream.failures.append(document(["a"]))
    async with batches(upstream, backend, clock=clock, hooks=[events.append]) as cache:
        outcome = await cache.fetch(request(["a", "b"]))
        assert outcome.json() == document(["a"])
        reason = "1 embeddings came where 2 were asked for"
        assert outcome.reasons == (f"not stored: {reason}",)
        assert [event.reason for event in events if isinstance(event, EntryRefused)] == [reason]
        await cache.fetch(request(["a", "b"]))
    assert upstream.calls == [["a", "b"]] * 2


@pytest.mark.parametrize("given", [["a", "b", "c"], ["a", "b", "c", "b"]])
async def test_a_wrong_number_of_embeddings_for_what_is_missing_lets_the_request_go_up_as_it_was_sent(
    given: list[str], upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    events: list[object] = []
    async with batches(upstream, backend, clock=clock, hooks=[events.append]) as cache:
        await cache.fetch(request("a"))
        upstream.failures.append(document(["b"]))
        outcome = await cache.fetch(request(given))
        assert outcome.json() == document(given)
        assert outcome.source is Source.UPSTREAM
        assert outcome.reasons == ("not stored: 1 embeddings came where 2 were asked for",)
        assert len([event for event in events if isinstance(event, EntryRefused)]) == 1
        await cache.fetch(request(["b", "c"]))
    assert upstream.calls == [["a"], ["b", "c"], given, ["b", "c"]]


async def test_only_good_embeddings_of_a_batch_are_stored(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    spoilt = document(["a", "b"])
    spoilt["data"][1]["embedding"] = []
    upstream.failures.append(spoilt)
    async with batches(upstream, backend, clock=clock) as cache:
        outcome = await cache.fetch(request(["a", "b"]))
        assert outcome.json() == spoilt
        assert outcome.reasons == ("not stored: an embedding is empty",)
        await cache.fetch(request(["a", "b"]))
    assert upstream.calls == [["a", "b"], ["b"]]


class Failing(MemoryBackend):
    """A store that cannot be read, or not written."""

    def __init__(self, *, reads: bool = True, writes: bool = True) -> None:
        super().__init__()
        self._reads, self._writes = reads, writes

    async def get_many(self, keys: Any) -> list[Entry | None]:
        if not self._reads:
            raise BackendUnavailable("no")
        return await super().get_many(keys)

    async def put(self, entry: Entry) -> None:
        if not self._writes:
            raise BackendUnavailable("no")
        await super().put(entry)


@pytest.mark.parametrize(("reads", "stage"), [(False, "Divided"), (True, "Write")])
async def test_a_failing_store_costs_the_caller_nothing(
    reads: bool, stage: str, upstream: EmbeddingServer
) -> None:
    events: list[object] = []
    backend = Failing(reads=reads, writes=not reads)
    async with batches(upstream, backend, strict=False, hooks=[events.append]) as cache:
        outcome = await cache.fetch(request(["a", "b"]))
    assert vectors(outcome) == expected(["a", "b"])
    assert upstream.calls == [["a", "b"]]
    assert {event.stage for event in events if isinstance(event, StageFailed)} == {stage}


@pytest.mark.parametrize("reads", [False, True])
async def test_a_failing_store_is_told_to_who_is_strict(reads: bool, upstream: EmbeddingServer) -> None:
    async with batches(upstream, Failing(reads=reads, writes=not reads)) as cache:
        with pytest.raises(BackendUnavailable):
            await cache.fetch(request(["a", "b"]))


async def test_a_large_batch_is_answered_off_the_loop(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    many = [f"text {number}" for number in range(2048)]
    async with batches(upstream, backend, clock=clock) as cache:
        assert vectors(await cache.fetch(request(many))) == expected(many)
        outcome = await cache.fetch(request([*reversed(many), "one more"]))
        assert vectors(outcome) == expected([*reversed(many), "one more"])
        assert outcome.reasons == ("2048 of 2049 inputs were stored",)
    assert [len(call) for call in upstream.calls] == [2048, 1]


async def test_counters_count_requests_and_entries(
    upstream: EmbeddingServer, backend: MemoryBackend, clock: FakeClock
) -> None:
    async with batches(upstream, backend, clock=clock) as cache:
        await cache.fetch(request(["a", "b", "c"]))
        await cache.fetch(request(["a", "b", "c"]))
        stats = cache.stats()
    assert (stats.sources, stats.stored) == ({"upstream": 1, "exact": 1}, 3)
