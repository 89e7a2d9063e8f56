"""Prefixes that servers compute before somebody waits for them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from asynccache._errors import ConfigurationError, InvalidRequest, UpstreamUnreachable
from asynccache._models import Request, Scope
from asynccache.upstreams.prefix_router import PrefixRouter
from asynccache.upstreams.vllm import PrewarmReport
from tests.upstreams._fake_vllm import BLOCK, chat, fake_servers, in_flight, opened, prompt_of, settled

if TYPE_CHECKING:
    from asynccache._models import Response

pytestmark = pytest.mark.anyio

SECRET = "0123456789abcdef0123456789abcdef"
LONG = "these are the instructions of one tenant " * 12
TOOLS = [{"type": "function", "function": {"name": "look", "description": "look for it " * 20}}]


def details(response: Response) -> Any:
    return orjson.loads(response.body)["usage"]["prompt_tokens_details"]


def whole_blocks(body: dict[str, Any]) -> int:
    """Tokens of a body's instructions and tools that a cache can hold."""
    static = {**body, "messages": body["messages"][:1], "add_generation_prompt": False}
    return len(prompt_of(static)) // BLOCK * BLOCK


@pytest.mark.parametrize("fields", [{}, {"tools": TOOLS}])
async def test_first_request_of_a_prewarmed_prefix_finds_all_its_blocks(fields: dict[str, Any]) -> None:
    body = chat(LONG, **fields)
    async with fake_servers(3) as servers, opened(servers) as (upstream, _):
        report = await upstream.prewarm([body])
        assert (report.sent, report.skipped, report.failed, report.unknown) == (1, 0, 0, 0)
        assert report.cached_tokens == 0
        assert report.created_tokens == whole_blocks(body)
        assert report.prompt_tokens >= report.created_tokens
        answer = await upstream.fetch(Request(body=body))
    assert details(answer)["cached_tokens"] >= whole_blocks(body) > 5 * BLOCK
    (server,) = (server for server in servers if server.bodies)
    assert [body.get("max_tokens") for body in server.bodies] == [1, None]


async def test_prewarming_carries_the_salt_of_the_tenant_it_is_for() -> None:
    async with fake_servers(1) as servers, opened(servers, tenant_secret=SECRET) as (upstream, _):
        request = Request(body=chat(LONG), scope=Scope(tenant="a"))
        await upstream.prewarm([request])
        other = await upstream.fetch(Request(body=chat(LONG), scope=Scope(tenant="b")))
        assert details(other)["cached_tokens"] == 0
        assert details(await upstream.fetch(request))["cached_tokens"] >= whole_blocks(chat(LONG))


async def test_prefixes_seen_most_often_are_sent_first() -> None:
    async with fake_servers(1) as servers, opened(servers, tenant_secret=SECRET) as (upstream, _):
        for name, uses in (("rare", 1), ("often", 3), ("sometimes", 2)):
            for number in range(uses):
                body = chat(f"{name} {LONG}", f"question {number}")
                await upstream.fetch(Request(body=body, scope=Scope(tenant=name)))
        sent = {body["messages"][0]["content"]: body["cache_salt"] for body in servers[0].bodies}
        servers[0].bodies.clear()
        report = await upstream.prewarm(budget_requests=2)
        assert (report.sent, report.skipped) == (2, 1)
        assert report.cached_tokens > 0
        assert [body["messages"] for body in servers[0].bodies] == [
            [{"role": "system", "content": f"{name} {LONG}"}] for name in ("often", "sometimes")
        ]
        for body in servers[0].bodies:
            assert body["cache_salt"] == sent[body["messages"][0]["content"]]


async def test_prewarming_is_no_users_traffic() -> None:
    async with fake_servers(2) as servers, opened(servers) as (upstream, _):
        await upstream.prewarm([chat(f"{number} {LONG}") for number in range(4)])
        report = upstream.report()
        assert report.total.requests == 0
        assert report.prewarmed.requests == 4
        assert report.prewarmed.prefilled_tokens > 0
        assert in_flight(upstream) == 0
        assert (await upstream.prewarm()) == PrewarmReport()  # nor does it make a prefix often used


async def test_requests_given_twice_or_without_instructions_are_not_sent() -> None:
    plain = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}
    other = Request(body={"model": "tiny", "input": "a"}, dialect="embeddings")
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        report = await upstream.prewarm([chat(), chat(user="another"), plain, other])
        assert report.sent == 1
        assert len(servers[0].bodies) == 1


async def test_server_with_requests_waiting_is_spared() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        servers[0].waiting = 1
        assert await upstream.prewarm([chat(), chat("other")]) == PrewarmReport(skipped=2)
        assert servers[0].bodies == []
        assert len(servers[0].authorized) == 1  # asked once, not for every prefix


async def test_server_that_tells_no_metrics_is_prewarmed_all_the_same() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        servers[0].metrics = b""
        assert (await upstream.prewarm([chat()])).sent == 1


async def test_budget_of_tokens_is_kept() -> None:
    bodies = [chat(f"{number} {LONG}") for number in range(5)]
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        assert await upstream.prewarm(bodies, budget_tokens=50) == PrewarmReport(skipped=5)
        report = await upstream.prewarm(bodies, budget_tokens=400)
        assert 0 < report.sent < 5
        assert report.sent + report.skipped == 5
        assert report.prompt_tokens <= 400


async def test_server_that_is_busy_is_not_asked_again_in_this_round() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, waits):
        servers[0].busy = 1
        report = await upstream.prewarm([chat("one"), chat("two"), chat("three")])
        assert report == PrewarmReport(failed=1, skipped=2)
        assert waits == []


async def test_prefix_that_a_server_refuses_does_not_stop_the_others() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        servers[0].refuses = (400, b'{"error":{"message":"needs a question"}}')
        bodies = [chat("one"), chat("two"), chat("three")]
        assert await upstream.prewarm(bodies, budget_requests=2) == PrewarmReport(failed=2, skipped=1)


async def test_server_that_cannot_be_reached_is_left_to_rest() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        await servers[0].stop()
        assert await upstream.prewarm([chat()]) == PrewarmReport(failed=1)
        assert upstream._router.ejected(now=upstream._replicas._now()) == (servers[0].base_url,)


async def test_server_that_counts_nothing_is_told_of() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        servers[0].details = False
        report = await upstream.prewarm([chat(LONG)])
        assert (report.sent, report.unknown, report.cached_tokens, report.created_tokens) == (1, 1, 0, 0)
        assert report.prompt_tokens > 0


async def test_server_that_takes_too_long_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asynccache.upstreams._vllm_prewarm._SECONDS", 0.05)
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        servers[0].gate.clear()
        assert await upstream.prewarm([chat()]) == PrewarmReport(failed=1)


async def test_bad_requests_and_budgets_are_refused() -> None:
    async with fake_servers(1) as servers, opened(servers) as (upstream, _):
        with pytest.raises(InvalidRequest, match="guided_json"):
            await upstream.prewarm([chat(guided_json={}, guided_regex="a")])
        with pytest.raises(ConfigurationError, match="budget_requests"):
            await upstream.prewarm(budget_requests=-1)
        with pytest.raises(ConfigurationError, match="budget_tokens"):
            await upstream.prewarm(budget_tokens=-1)


@pytest.mark.parametrize("wanted", [True, False])
async def test_replica_that_comes_back_is_prewarmed_if_wanted(wanted: bool) -> None:
    async with fake_servers(2) as servers:
        router = PrefixRouter([server.base_url for server in servers], slack=1000)
        async with opened(servers, router=router, prewarm_on_return=wanted) as (upstream, _):
            upstream._replicas._now = lambda: 0.0
            for number in range(12):
                await upstream.fetch(Request(body=chat(f"{number} {LONG}")))
            home = max(servers, key=lambda server: len(server.bodies))
            mine = [body["messages"][0]["content"] for body in home.bodies]
            await home.stop()
            await settled(lambda: not home.raw.open)
            with suppress(UpstreamUnreachable):
                await upstream.fetch(Request(body=chat(mine[0])))
            assert router.ejected(now=0.0) == (home.base_url,)
            home.bodies.clear()
            await home.start()
            upstream._replicas._now = lambda: 1000.0  # by now it may be asked again
            await upstream.fetch(Request(body=chat(mine[0])))
            if wanted:
                await settled(lambda: len(home.bodies) > len(mine))
            await settled(lambda: not upstream._nursery._children)
        warmed = [body["messages"][0]["content"] for body in home.bodies if "max_tokens" in body]
        assert sorted(warmed) == (sorted(mine) if wanted else [])
        (other,) = (server for server in servers if server is not home)
        assert not any("max_tokens" in body for body in other.bodies)


async def test_upstream_that_is_closed_takes_its_prewarming_with_it() -> None:
    async with fake_servers(1) as servers:
        async with opened(servers, prewarm_on_return=True) as (upstream, _):
            await upstream.fetch(Request(body=chat(LONG)))
            upstream._replicas.ended(servers[0].base_url, UpstreamUnreachable("gone"))
            servers[0].gate.clear()
            upstream._replicas.ended(servers[0].base_url, None)
            await settled(lambda: len(servers[0].bodies) == 2)
        servers[0].gate.set()
        await servers[0].raw.all_closed()
        upstream._replicas.ended(servers[0].base_url, UpstreamUnreachable("gone"))
        upstream._replicas.ended(servers[0].base_url, None)  # by a stream that outlived the upstream
