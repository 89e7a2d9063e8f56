"""What the caching transport carries from one side to the other, byte for byte, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integrations._transports import URL, answering, asked, cache, caching, document, each_library

pytestmark = [pytest.mark.anyio, each_library]


@pytest.mark.parametrize("value", ["café".encode(), "café".encode("latin-1")])
@pytest.mark.parametrize("status", [200, 400])
async def test_bytes_of_a_header_survive(library: Any, value: bytes, status: int) -> None:
    async def answer(request: Any) -> Any:
        headers = [(b"content-type", b"application/json"), (b"x-region", value)]
        return library.Response(status, headers=headers, json=document())

    inner = answering(library, answer)
    async with library.AsyncClient(transport=caching(library, cache(), inner)) as client:
        response = await client.post(URL, json=asked())
    assert (response.status_code, response.headers["x-region"]) == (status, "café")
    assert (b"x-region", value) in response.headers.raw


async def test_requests_that_differ_in_the_bytes_of_a_header_never_share(library: Any) -> None:
    async def answer(request: Any) -> Any:
        return library.Response(200, json=document())

    inner = answering(library, answer)
    async with library.AsyncClient(transport=caching(library, cache(), inner)) as client:
        for value in ("café".encode(), "café".encode("latin-1")):
            await client.post(URL, json=asked(), headers=[(b"x-team", value)])
    assert len(inner.requests) == 2


async def test_own_answer_tells_its_version_and_reason_and_a_hit_does_not(library: Any) -> None:
    async def answer(request: Any) -> Any:
        told = {"http_version": b"HTTP/2", "reason_phrase": b"Fine", "other": b"x"}
        return library.Response(200, json=document(), extensions=told)

    transport = caching(library, cache(), answering(library, answer))
    async with library.AsyncClient(transport=transport) as client:
        own = await client.post(URL, json=asked())
        hit = await client.post(URL, json=asked())
    assert (own.http_version, own.reason_phrase, "other" in own.extensions) == ("HTTP/2", "Fine", False)
    assert (hit.http_version, hit.reason_phrase) == ("HTTP/1.1", "OK")


async def test_stale_answer_has_nothing_of_the_failure_it_replaces(library: Any) -> None:
    failing = False

    async def answer(request: Any) -> Any:
        told = {"reason_phrase": b"Down"}
        return library.Response(503 if failing else 200, json=document(), extensions=told)

    transport = caching(library, cache(), answering(library, answer))
    async with library.AsyncClient(transport=transport) as client:
        await client.post(URL, json=asked())
        failing = True
        headers = {"Cache-Control": "max-age=0, stale-if-error=60"}
        stale = await client.post(URL, json=asked(), headers=headers)
    assert (stale.status_code, stale.reason_phrase) == (200, "OK")
    assert stale.headers["cache-status"].endswith("detail=stale")


async def test_request_with_a_target_of_its_own_passes_by(library: Any) -> None:
    async def answer(request: Any) -> Any:
        return library.Response(200, json=document(request.extensions.get("target", b"none").decode()))

    transport = caching(library, cache(), answering(library, answer))
    async with library.AsyncClient(transport=transport) as client:
        for target in ("/a/v1/chat/completions", "/b/v1/chat/completions"):
            response = await client.post(URL, json=asked(), extensions={"target": target.encode()})
            assert response.json() == document(target)
            assert "cache-status" not in response.headers


async def test_hosts_behind_one_address_never_share(library: Any) -> None:
    async def answer(request: Any) -> Any:
        return library.Response(200, json=document(request.headers["host"]))

    inner = answering(library, answer)
    async with library.AsyncClient(transport=caching(library, cache(), inner)) as client:
        for host in (None, "one.test", "other.test", None, "one.test", "other.test"):
            response = await client.post(URL, json=asked(), headers={} if host is None else {"Host": host})
            assert response.json() == document(host or "up")
    assert len(inner.requests) == 3
