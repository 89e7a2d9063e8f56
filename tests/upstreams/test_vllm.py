"""Several vLLM servers asked as one: what is sent where, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import orjson
import pytest

from asynccache import CachePipeline
from asynccache._errors import (
    ConfigurationError,
    InvalidRequest,
    PipelineClosed,
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamError,
)
from asynccache._models import Request, Scope
from asynccache.upstreams.prefix_router import PrefixRouter
from asynccache.upstreams.vllm import TenantTokens, VLLMMetrics, VLLMUpstream, tenant_mark
from tests.upstreams._fake_vllm import BLOCK, FakeVLLM, chat, fake_servers, in_flight, opened

if TYPE_CHECKING:
    from tests.upstreams.conftest import Exchange, Wire

pytestmark = pytest.mark.anyio

SECRET = "0123456789abcdef0123456789abcdef"
LONG = "these are the instructions of one tenant " * 12


def cached(response: Any) -> int:
    return int(orjson.loads(response.body)["usage"]["prompt_tokens_details"]["cached_tokens"])


async def test_whole_answer_arrives_byte_for_byte(wire: type[Wire]) -> None:
    head, body = wire.recording("chat_basic")

    async def answer(exchange: Exchange) -> None:
        await exchange.send(head + body)

    async with wire.server(answer) as raw:
        upstream = VLLMUpstream(raw.base_url)
        async with upstream.lifespan():
            response = await upstream.fetch(wire.request())
        assert raw.requests[0].path == "/v1/chat/completions"
    assert response.body == body
    assert upstream.report().total == TenantTokens(1, 0, *tokens_of(body))


def tokens_of(body: bytes) -> tuple[int, int]:
    usage = orjson.loads(body)["usage"]
    return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


@pytest.mark.parametrize("name", ["reasoning_stream", "stream_n2", "tool_stream_named"])
async def test_streamed_answer_arrives_frame_by_frame(name: str, wire: type[Wire]) -> None:
    head, body = wire.recording(name)

    async def answer(exchange: Exchange) -> None:
        await exchange.send(head, *wire.chunks(body, 50))

    async with wire.server(answer) as raw:
        upstream = VLLMUpstream(raw.base_url)
        async with upstream.lifespan():
            stream = await upstream.stream(wire.request())
            recorded: list[tuple[bytes, ...]] = []

            async def complete(frames: tuple[bytes, ...]) -> None:
                recorded.append(frames)

            stream.on_complete(complete)
            frames = [frame async for frame in stream]
    expected = [event.removeprefix(b"data: ") for event in body.strip().split(b"\n\n")[:-1]]
    assert frames == expected
    assert recorded == [tuple(expected)]
    assert in_flight(upstream) == 0
    assert upstream.report().total.requests == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("err_400_temp", UpstreamBadRequest),
        ("err_404_model", UpstreamBadRequest),
        ("401_no_key", UpstreamAuth),
    ],
)
async def test_refusal_passes_as_it_is_and_is_not_repeated(
    name: str, kind: type[UpstreamError], wire: type[Wire]
) -> None:
    head, body = wire.recording(name)
    status = int(head.split(b" ")[1])
    async with fake_servers(2) as servers:
        for server in servers:
            server.refuses = (status, body)
        async with opened(servers) as (upstream, waits):
            for ask in (upstream.fetch, upstream.stream):
                with pytest.raises(kind) as caught:
                    await ask(Request(body=chat()))
                assert (caught.value.status, caught.value.body) == (status, body)
    assert sum(len(server.bodies) for server in servers) == 2
    assert waits == []
    assert upstream._router.ejected(now=0.0) == ()
    assert in_flight(upstream) == 0


async def test_requests_that_begin_alike_meet_at_one_replica() -> None:
    async with fake_servers(3) as servers:
        router = PrefixRouter([server.base_url for server in servers], slack=1000)  # load is another test's
        async with opened(servers, router=router) as (upstream, _):
            for turn in range(4):
                for tenant in range(20):
                    await upstream.fetch(Request(body=chat(f"{tenant} {LONG}", f"question {turn}")))
    seen = [{body["messages"][0]["content"] for body in server.bodies} for server in servers]
    assert sum(len(each) for each in seen) == 20
    assert sum(1 for each in seen if each) > 1
    report = upstream.report()
    assert report.hit_ratio is not None
    assert report.hit_ratio > 0.6  # three of four, less what is a request's own


async def test_salt_keeps_tenants_apart_in_the_servers_cache() -> None:
    async with fake_servers(1) as servers, opened(servers, tenant_secret=SECRET) as (upstream, _):
        answers = [
            cached(await upstream.fetch(Request(body=chat(LONG), scope=Scope(tenant=tenant))))
            for tenant in ("a", "a", "b", None, None)
        ]
    assert [bool(each) for each in answers] == [False, True, False, False, True]
    salts = [body["cache_salt"] for body in servers[0].bodies]
    assert salts[0] == salts[1] != salts[2]
    assert len(set(salts)) == 3
    assert "cache_salt" not in chat(LONG)


async def test_own_salt_is_folded_and_without_a_secret_sent_as_it_is() -> None:
    async with fake_servers(1) as servers:
        async with opened(servers, tenant_secret=SECRET) as (upstream, _):
            await upstream.fetch(Request(body=chat(cache_salt="mine")))
        async with opened(servers, tenant_secret="") as (upstream, _):
            await upstream.fetch(Request(body=chat(cache_salt="mine")))
            await upstream.fetch(Request(body=chat()))
    folded, plain, none = (body.get("cache_salt") for body in servers[0].bodies)
    assert folded not in ("mine", None)
    assert plain == "mine"
    assert none is None


async def test_salt_reaches_streams_too_and_the_request_keeps_its_body() -> None:
    request = Request(body=chat(), scope=Scope(tenant="a"))
    async with fake_servers(1) as servers, opened(servers, tenant_secret=SECRET) as (upstream, _):
        stream = await upstream.stream(request)
        assert [orjson.loads(frame)["choices"] for frame in [frame async for frame in stream]]
        await upstream.fetch(request)
    first, second = servers[0].bodies
    assert first["cache_salt"] == second["cache_salt"]
    assert request.body == chat()


async def test_protocol_that_knows_no_salt_is_sent_none() -> None:
    upstream = VLLMUpstream("http://127.0.0.1:1/v1", tenant_secret=SECRET)
    for dialect, salted in (
        ("completions", True),
        ("responses", True),
        ("messages", True),
        ("embeddings", False),
    ):
        sent, _ = upstream._prepared(Request(body={"model": "tiny"}, dialect=dialect))
        assert ("cache_salt" in sent.body) is salted


async def test_guided_fields_are_sent_as_structured_outputs() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        await upstream.fetch(Request(body=chat(guided_choice=["yes", "no"])))
        with pytest.raises(InvalidRequest, match="guided_json"):
            await upstream.fetch(Request(body=chat(guided_choice=["yes"], guided_json={})))
    (body,) = servers[0].bodies
    assert body["structured_outputs"] == {"choice": ["yes", "no"]}
    assert "guided_choice" not in body


@pytest.mark.parametrize(
    ("fields", "asked"), [({"guided_choice": ["yes"]}, 2), ({"structured_outputs": {"choice": ["yes"]}}, 1)]
)
async def test_only_an_answer_whose_body_says_structured_outputs_is_stored(
    fields: dict[str, Any], asked: int
) -> None:
    async with fake_servers(1) as servers:
        upstream = VLLMUpstream(servers[0].base_url)
        async with CachePipeline(upstream, backend="memory://", decision=None, strict=True) as cache:
            for _ in range(2):
                outcome = await cache.fetch(Request(body=chat(**fields)))
                assert outcome.text == "yes"
    assert len(servers[0].bodies) == asked


async def test_prefilled_tokens_are_told_per_request_of_a_user() -> None:
    async with fake_servers(2) as servers:
        upstream = VLLMUpstream([server.base_url for server in servers])
        async with CachePipeline(upstream, backend="memory://", decision=None, strict=True) as cache:
            for user in ("one", "one", "two", "two", "two"):
                await cache.fetch(Request(body=chat(LONG, user), scope=Scope(tenant="a")))
            stats = cache.stats()
    report = upstream.report()
    assert (report.total.requests, stats.requests) == (2, 5)
    assert report.prefilled_per_request(stats) == report.total.prefilled_tokens / 5
    assert 0 < report.total.cached_tokens < report.total.prompt_tokens
    assert set(report.tenants) == {tenant_mark("a")}


async def test_usage_is_read_from_streams_that_tell_and_unknown_of_the_others() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        telling: dict[str, Any] = {"stream_options": {"include_usage": True}}
        for asked in (telling, {}):
            stream = await upstream.stream(Request(body=chat(LONG, **asked)))
            assert [frame async for frame in stream]
        servers[0].details = False
        await upstream.fetch(Request(body=chat(LONG)))
    total = upstream.report().total
    assert (total.requests, total.unknown) == (3, 2)
    assert total.prompt_tokens > 0


async def test_metrics_are_read_from_every_replica_with_a_reason_where_there_are_none() -> None:
    async with fake_servers(4) as servers, opened(servers, api_key="key") as (upstream, _):
        await upstream.fetch(Request(body=chat(LONG)))
        servers[1].metrics = b""
        servers[2].metrics = b"<html>nothing here</html>"
        await servers[3].stop()
        for server in (servers[0],):
            server.metrics = b"vllm:num_requests_running 3.0\n" * 20_000  # read in a thread
        found = await upstream.metrics()
    assert list(found) == [server.base_url for server in servers]
    one, two, three, four = found.values()
    assert one == (VLLMMetrics(running=60_000), None)
    assert two == (None, "answered 404")
    assert three == (None, "no metrics of vLLM in the answer")
    assert four.metrics is None
    assert "ConnectError" in str(four.reason)
    assert servers[0].authorized == ["Bearer key"]


async def test_readings_show_what_the_cache_was_good_for() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        (before,) = (await upstream.metrics()).values()
        first = await upstream.fetch(Request(body=chat(LONG, "one")))
        second = await upstream.fetch(Request(body=chat(LONG, "two")))
        (after,) = (await upstream.metrics()).values()
    assert before.metrics is not None
    assert after.metrics is not None
    change = after.metrics.delta(before.metrics)
    assert change.prefix_hits == cached(first) + cached(second)
    assert change.hit_ratio == upstream.report().hit_ratio


async def test_reading_leaves_no_connection_open() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        await upstream.metrics()
        await servers[0].raw.all_closed()


async def test_metrics_that_do_not_come_in_time_are_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asynccache.upstreams._vllm_scrape._SECONDS", 0.05)

    async with fake_servers(1) as servers, opened(servers) as (upstream, _):

        async def silent(exchange: Exchange) -> None:
            await exchange.client_left()

        servers[0].raw.handler = silent
        (found,) = (await upstream.metrics()).values()
    assert found == (None, "no answer within 0.05 seconds")


async def test_metrics_without_end_are_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asynccache.upstreams._vllm_scrape._MOST_BYTES", 1000)
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        servers[0].metrics = b"vllm:num_requests_running 3.0\n" * 100
        (found,) = (await upstream.metrics()).values()
    assert found == (None, "the text is over 1000 bytes")


async def test_closed_upstream_says_so() -> None:
    upstream = VLLMUpstream("http://127.0.0.1:1/v1")
    for ask in (upstream.fetch, upstream.stream):
        with pytest.raises(PipelineClosed):
            await ask(Request(body=chat()))
    with pytest.raises(PipelineClosed):
        await upstream.metrics()
    with pytest.raises(PipelineClosed):
        await upstream.prewarm([chat()])
    assert in_flight(upstream) == 0


async def test_lifespan_may_be_entered_again_after_it_ended() -> None:
    async with fake_servers(1) as servers:
        upstream = VLLMUpstream(servers[0].base_url)
        for _ in range(2):
            async with upstream.lifespan(), upstream.lifespan():
                await upstream.fetch(Request(body=chat()))
                await upstream.metrics()
        await servers[0].raw.all_closed()


async def test_many_at_once_are_spread_over_the_replicas() -> None:
    async with fake_servers(3) as servers, opened(servers) as (upstream, _):
        for server in servers:
            server.gate.clear()
        async with anyio.create_task_group() as group:
            for number in range(30):
                group.start_soon(upstream.fetch, Request(body=chat(LONG, f"question {number}")))
            with anyio.fail_after(10):
                for _ in range(30):
                    await any_begun(servers)
            assert in_flight(upstream) == 30
            for server in servers:
                server.gate.set()
    assert max(len(server.bodies) for server in servers) <= 14  # ceil(1.25 * 31 / 3)
    assert in_flight(upstream) == 0


async def any_begun(servers: Any) -> None:
    """Wait until one more request has arrived somewhere."""
    while all(server.begun.locked() for server in servers):  # noqa: ASYNC110  (of several servers)
        await anyio.sleep(0.001)
    await next(server for server in servers if not server.begun.locked()).begun.acquire()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"base_urls": []}, "base_urls"),
        ({"base_urls": ["http://a/v1", "http://a/v1/"]}, "twice"),
        ({"base_urls": ["ftp://a"]}, "base_url"),
        ({"base_urls": "http://a/v1", "tenant_secret": "short"}, "tenant_secret"),
        ({"base_urls": "http://a/v1", "max_retries": -1}, "max_retries"),
        ({"base_urls": "http://a/v1", "router": PrefixRouter(["http://b/v1"])}, "router"),
    ],
)
async def test_option_that_cannot_work_is_refused_by_name(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        VLLMUpstream(**options)


async def test_router_that_has_lost_the_replicas_is_told_of() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        upstream._router.remove(servers[0].base_url)
        with pytest.raises(ConfigurationError, match="router"):
            await upstream.fetch(Request(body=chat()))


async def test_replica_taken_from_the_router_is_not_asked_any_more() -> None:
    async with fake_servers(2) as servers:
        router = PrefixRouter([server.base_url for server in servers])
        async with opened(servers, router=router) as (upstream, waits):
            router.remove(servers[0].base_url)
            servers[1].busy = 1
            for number in range(5):
                await upstream.fetch(Request(body=chat(f"tenant {number}")))
    assert (len(servers[0].bodies), len(servers[1].bodies)) == (0, 6)
    assert waits == [0.5]


async def test_repr_tells_the_replicas_and_no_secret() -> None:
    upstream = VLLMUpstream(["http://a/v1", "http://b/v1"], tenant_secret=SECRET, api_key="key")
    assert repr(upstream) == "<VLLMUpstream http://a/v1, http://b/v1>"
    assert SECRET not in repr(vars(upstream))


def test_a_fake_servers_block_is_smaller_than_the_instructions() -> None:
    assert len(LONG.split()) > 5 * BLOCK
    assert FakeVLLM().busy == 0
