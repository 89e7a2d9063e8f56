"""What is no question to a model: passed on byte for byte, or refused; never beside the base URL."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from asynccache.server._proxy_forward import is_below

pytestmark = pytest.mark.anyio


async def test_unknown_path_is_passed_on_byte_for_byte_both_ways(proxying: Any) -> None:
    body = bytes(range(256)) * 1000

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    async def answer(asked: Any) -> None:
        await asked.answer(
            gzip.compress(asked.body), 201, content_encoding="gzip", x_theirs="1", set_cookie="a=b"
        )

    async with proxying.both(answer) as (upstream, served):
        for content in (body, pieces()):
            response = await served.client.post(
                "/v1/files?purpose=%7Ebatch&a=b%20c", content=content, headers={"x-mine": "1"}
            )
            assert response.status_code == 201
            assert response.content == body
            assert response.headers["x-theirs"] == "1"
            served.client.cookies.clear()
    assert [asked.body for asked in upstream.asked] == [body, body]
    assert {asked.target for asked in upstream.asked} == {"/v1/files?purpose=%7Ebatch&a=b%20c"}
    assert upstream.asked[0].headers["x-mine"] == "1"
    assert "cookie" not in upstream.asked[1].headers


async def test_request_without_headers_gets_none_of_the_proxys(proxying: Any) -> None:
    async with proxying.both() as (upstream, served):
        with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as raw:
            raw.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(raw, b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            with anyio.fail_after(5):
                while await loop.sock_recv(raw, 65536):
                    pass
    assert set(upstream.asked[0].headers) <= {"host", "connection"}


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"])
async def test_every_method_is_passed_on(proxying: Any, method: str) -> None:
    async def answer(asked: Any) -> None:
        if asked.method == "HEAD":
            await asked.send(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n")
        else:
            await asked.answer({"method": asked.method})

    async with proxying.both(answer) as (upstream, served):
        response = await served.client.request(method, "/v1/things/1")
    assert response.status_code == 200
    assert upstream.asked[0].method == method


@pytest.mark.parametrize("status", [204, 304, 404, 500])
async def test_statuses_are_passed_on(proxying: Any, status: int) -> None:
    async def answer(asked: Any) -> None:
        await asked.send(f"HTTP/1.1 {status} Odd\r\n".encode())
        length = b"" if status in {204, 304} else b"content-length: 0\r\n"
        await asked.send(length + b"\r\n")

    async with proxying.both(answer) as (_, served):
        response = await served.client.get("/v1/things")
    assert response.status_code == status


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/models", "/metrics", "/v1beta/models", "/V1/models"])
async def test_paths_beside_the_base_are_answered_404(proxying: Any, path: str) -> None:
    async with proxying.both(unknown="pass") as (upstream, served):
        response = await served.client.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found_error"
    assert not upstream.asked


@pytest.mark.parametrize(
    ("path", "below"),
    [
        (b"/v1/models", True),
        (b"/v1/models/a%2Fb", True),
        (b"/v1/files/a.b..c", True),
        (b"/v1/../admin", False),
        (b"/v1/./models", False),
        (b"/v1/%2e%2e/admin", False),
        (b"/v1/%252e%252e/admin", False),
        (b"/v1/%25252525252e/admin", False),
        (b"/v1/..;x/admin", False),
        (b"/v1/a\\..\\b", False),
        (b"/v1/a%5c..%5cb", False),
        (b"/v1/a%00b", False),
        (b"/v1/a%0d%0ab", False),
        (b"/v1", False),
        (b"/v10/models", False),
        (b"/v1/\xc3\xa9", False),
    ],
)
def test_path_is_below_the_base_however_it_is_read(path: bytes, *, below: bool) -> None:
    assert is_below(path) is below


async def test_dots_that_reach_the_server_as_they_are_do_not_reach_the_upstream(proxying: Any) -> None:
    async with proxying.both() as (upstream, served):
        loop = asyncio.get_running_loop()
        for target in (b"/v1/../admin", b"/v1/%2e%2e/admin", b"http://other.example/v1/../x"):
            with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as raw:
                raw.setblocking(False)
                await loop.sock_sendall(raw, b"GET " + target + b" HTTP/1.1\r\nhost: x\r\n\r\n")
                with anyio.fail_after(5):
                    assert (await loop.sock_recv(raw, 65536)).startswith(b"HTTP/1.1 404")
    assert not upstream.asked


async def test_unknown_paths_are_refused_when_told_so(proxying: Any) -> None:
    async with proxying.both(unknown="refuse") as (upstream, served):
        response = await served.client.get("/v1/models")
    assert response.status_code == 404
    assert not upstream.asked


async def test_with_the_proxys_own_key_only_the_list_of_models_is_passed_on(
    proxying: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "the-proxys-own")
    async with proxying.both(upstream_key_env="UPSTREAM_KEY") as (upstream, served):
        headers = {"authorization": "Bearer mine", "cookie": "a=b"}
        models = await served.client.get("/v1/models", headers=headers)
        files = await served.client.get("/v1/files", headers=headers)
        deleted = await served.client.delete("/v1/models/m", headers=headers)
    assert models.status_code == 200
    assert files.status_code == deleted.status_code == 404
    assert [asked.target for asked in upstream.asked] == ["/v1/models"]
    assert upstream.asked[0].headers["authorization"] == "Bearer the-proxys-own"
    assert "cookie" not in upstream.asked[0].headers


async def test_client_that_leaves_closes_the_call_that_was_passed_on(proxying: Any) -> None:
    left = asyncio.Event()

    async def stall(asked: Any) -> None:
        await asked.client_left()
        left.set()

    async with proxying.both(stall) as (_, served):
        with anyio.move_on_after(0.3):
            await served.client.get("/v1/models")
        with anyio.fail_after(5):
            await left.wait()
    assert not served.reports


async def test_response_that_breaks_off_breaks_off_for_the_client_too(proxying: Any) -> None:
    import httpx2

    async def half(asked: Any) -> None:
        await asked.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        asked.writer.close()

    async with proxying.both(half) as (_, served):
        with pytest.raises(httpx2.RemoteProtocolError):
            await served.client.get("/v1/models")
        assert served.app._gate.running == 0
    assert not served.reports
