"""The places in front of the client's pool: waiting, leaks, forks."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest

from asynccache._errors import UpstreamTimeout
from asynccache.upstreams import _connections
from asynccache.upstreams.openai import OpenAIUpstream

if TYPE_CHECKING:
    from asynccache.upstreams._connections import _Pool
    from tests.upstreams.conftest import Exchange, Wire

pytestmark = pytest.mark.anyio

OK = b'{"choices":[]}'


def pool_of(upstream: OpenAIUpstream) -> _Pool:
    pool = upstream._connections._pool
    assert pool is not None
    return pool


async def test_request_without_a_free_connection_waits_and_then_times_out(wire: type[Wire]) -> None:
    asked, go_on = anyio.Event(), anyio.Event()

    async def answer(exchange: Exchange) -> None:
        asked.set()
        await go_on.wait()
        await exchange.send(wire.whole(200, OK))

    timeout = httpx2.Timeout(10, pool=0.1)
    async with wire.asking(answer, max_connections=1, timeout=timeout) as (upstream, _):
        first = asyncio.create_task(upstream.fetch(wire.request()))
        await asked.wait()
        with pytest.raises(UpstreamTimeout, match=r"all 1 connections .* busy \(max_connections\)"):
            await upstream.fetch(wire.request())
        go_on.set()
        assert (await first).body == OK
        assert (await upstream.fetch(wire.request())).body == OK


async def test_idle_connection_is_closed_before_the_server_does_it(
    wire: type[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asynccache.upstreams.openai._KEEPALIVE_SECONDS", 0.05)
    async with wire.asking(lambda exchange: exchange.send(wire.whole(200, OK))) as (upstream, raw):
        await upstream.fetch(wire.request())
        await upstream.fetch(wire.request())
        assert raw.connections == 1
        await asyncio.sleep(0.1)
        await upstream.fetch(wire.request())
        assert raw.connections == 2


async def leak(upstream: OpenAIUpstream, url: str) -> httpx2.Response:
    """Take a connection out of the pool behind the upstream's back, as a lost request does."""
    client = pool_of(upstream).client
    return await client.send(client.build_request("POST", url), stream=True)


async def test_pool_that_lost_its_connections_is_replaced(
    wire: type[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asynccache.upstreams.openai.POOL_SECONDS", 0.05)

    async def answer(exchange: Exchange) -> None:
        if exchange.path == "/v1/held":
            await exchange.send(wire.events_head(), wire.chunk(wire.event("a")))
            await exchange.client_left()
        else:
            await exchange.send(wire.whole(200, OK))

    async with wire.asking(answer, max_connections=2) as (upstream, raw):
        lost = [await leak(upstream, f"{raw.base_url}/held") for _ in range(2)]
        old = pool_of(upstream)
        answers = await asyncio.gather(*(upstream.fetch(wire.request()) for _ in range(10)))
        assert [one.body for one in answers] == [OK] * 10
        assert pool_of(upstream) is not old
        assert old.client.is_closed
        assert raw.connections <= 4  # two lost, two in the new pool
        for response in lost:
            with pytest.raises(httpx2.RequestError):
                await response.aread()
        await upstream.fetch(wire.request())


async def test_replaced_pool_closes_with_its_last_answer(
    wire: type[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asynccache.upstreams.openai.POOL_SECONDS", 0.05)
    go_on = anyio.Event()

    async def answer(exchange: Exchange) -> None:
        if exchange.json() == {"lost": True}:
            await exchange.send(wire.events_head(), wire.chunk(wire.event("a")))
            await exchange.client_left()
        elif exchange.json().get("stream"):
            await exchange.send(wire.events_head(), wire.chunk(wire.event("a")))
            await go_on.wait()
            await exchange.send(*wire.chunks(wire.event(None, "stop"), 1000))
        else:
            await exchange.send(wire.whole(200, OK))

    async with wire.asking(answer, max_connections=2) as (upstream, raw):
        stream = await upstream.stream(wire.request())
        old = pool_of(upstream)
        request = old.client.build_request("POST", f"{raw.base_url}/x", content=b'{"lost":true}')
        lost = await old.client.send(request, stream=True)
        assert (await upstream.fetch(wire.request())).body == OK
        assert pool_of(upstream) is not old
        assert not old.client.is_closed
        go_on.set()
        assert len([frame async for frame in stream]) == 2
        assert old.client.is_closed
        await lost.aclose()


async def test_pool_of_a_given_transport_is_not_replaced(wire: type[Wire]) -> None:
    def full(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.PoolTimeout("full")

    upstream = OpenAIUpstream("http://x/v1", transport=httpx2.MockTransport(full))
    async with upstream.lifespan():
        with pytest.raises(UpstreamTimeout, match="PoolTimeout"):
            await upstream.fetch(wire.request())


async def test_client_of_another_process_is_neither_used_nor_closed(
    wire: type[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wire.asking(lambda exchange: exchange.send(wire.whole(200, OK))) as (upstream, raw):
        await upstream.fetch(wire.request())
        parents = pool_of(upstream)
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: parents.pid + 1)
            await upstream.fetch(wire.request())
            childs = pool_of(upstream)
            assert childs is not parents
            assert not parents.client.is_closed
            assert raw.connections == 2
            assert parents in _connections._INHERITED
            await upstream.fetch(wire.request())
            assert pool_of(upstream) is childs
            await childs.client.aclose()
    await parents.client.aclose()
    _connections._INHERITED.remove(parents)


async def test_child_that_only_leaves_the_lifespan_does_not_close_the_parents_client(
    wire: type[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wire.server(lambda exchange: exchange.send(wire.whole(200, OK))) as raw:
        upstream = OpenAIUpstream(raw.base_url)
        async with upstream.lifespan():
            await upstream.fetch(wire.request())
            parents = pool_of(upstream)
            monkeypatch.setattr(os, "getpid", lambda: parents.pid + 1)
        assert not parents.client.is_closed
        await parents.client.aclose()
