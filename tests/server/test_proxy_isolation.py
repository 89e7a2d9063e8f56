"""One account's answers, cookies and troubles are nobody else's, and nobody holds a place for nothing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asynccache import ConfigurationError
from asynccache.server import _proxy_body, _proxy_forward
from asynccache.server._proxy_options import ProxyOptions
from asynccache.server.proxy import ProxyApp

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def own_key(proxying: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    del proxying  # clears the environment first
    monkeypatch.setenv("OWN_KEY", "sk-own")


def told(answer: Any) -> str:
    return str(answer.json()["choices"][0]["message"]["content"])


def keys_of(folder: Path, *tenants: str) -> str:
    path = folder / "keys.toml"
    lines = [f'"{tenant}" = ["key{number}"]' for number, tenant in enumerate(tenants)]
    path.write_text("[keys]\n" + "\n".join(lines))
    return str(path)


async def test_proxies_before_different_upstreams_share_a_store_but_no_answers(
    proxying: Any, tmp_path: Path
) -> None:
    options = {"pipeline": {"backend": f"sqlite:///{tmp_path}/shared.sqlite"}, "upstream_key_env": "OWN_KEY"}
    for number in range(2):

        async def handler(asked: Any, number: int = number) -> None:
            await asked.answer(proxying.completion(f"upstream {number}"))

        async with proxying.both(handler, **options) as (_, served):
            for _ in range(2):
                assert told(await served.ask()) == f"upstream {number}"


async def test_proxies_with_different_accounts_share_no_answers(
    proxying: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"pipeline": {"backend": f"sqlite:///{tmp_path}/shared.sqlite"}, "upstream_key_env": "OWN_KEY"}

    async def handler(asked: Any) -> None:
        await asked.answer(proxying.completion(asked.headers["authorization"]))

    async with proxying.upstream(handler) as upstream:
        for key in ("sk-a", "sk-b"):
            monkeypatch.setenv("OWN_KEY", key)
            async with proxying.proxy(upstream.url, **options) as served:
                assert told(await served.ask()) == f"Bearer {key}"


@pytest.mark.parametrize("headers", [{}, {"openai-beta": "x"}])
async def test_tenants_that_differ_by_white_space_are_two(
    headers: Any, proxying: Any, tmp_path: Path
) -> None:
    options = {"upstream_key_env": "OWN_KEY", "keys": keys_of(tmp_path, "acme", "acme ", " acme")}
    async with proxying.both(**options) as (upstream, served):
        for number in range(3):
            given = {"authorization": f"Bearer key{number}", **headers}
            assert (await served.ask(headers=given)).headers["cache-status"] == "asynccache; fwd=miss"
        assert len(upstream.asked) == 3


def test_configured_key_does_not_open_the_proxy_to_everybody(tmp_path: Path) -> None:
    del tmp_path
    options = ProxyOptions(upstream="http://127.0.0.1:9/v1", pipeline={"api_key": "sk-x", "decision": None})
    with pytest.raises(ConfigurationError, match=r"api_key is configured.*--upstream-key-env"):
        ProxyApp(options)


async def test_silent_upstream_is_given_up_with_a_key_of_our_own_too(proxying: Any) -> None:
    async def handler(asked: Any) -> None:
        await asked.client_left()

    async with proxying.both(handler, upstream_key_env="OWN_KEY", timeout=0.3) as (_, served):
        assert (await served.ask()).status_code == 504


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("path", ["chat", "models"])
async def test_refusal_of_our_own_account_is_not_told_to_clients(
    path: str, status: int, proxying: Any
) -> None:
    async def handler(asked: Any) -> None:
        await asked.answer({"error": {"message": "Incorrect API key provided: sk-own"}}, status=status)

    async with proxying.both(handler, upstream_key_env="OWN_KEY") as (_, served):
        answer = await (served.ask() if path == "chat" else served.client.get("/v1/models"))
        assert answer.status_code == 502
        assert "sk-own" not in answer.text
        assert "account of this server" in answer.json()["error"]["message"]


async def test_cookies_and_account_headers_of_our_own_account_stay_here(proxying: Any) -> None:
    async def handler(asked: Any) -> None:
        headers = {"set_cookie": "sess=1; Path=/", "openai_organization": "org-own"}
        await asked.answer(proxying.completion(), **headers)

    async with proxying.both(handler, upstream_key_env="OWN_KEY") as (upstream, served):
        for question in ("a", "b"):
            await served.ask(question)
        answer = await served.client.get("/v1/models")
        assert not {"set-cookie", "openai-organization"} & set(answer.headers)
        assert all("cookie" not in asked.headers for asked in upstream.asked)


@pytest.mark.parametrize("kind", [None, "text/plain"])
async def test_body_of_another_kind_is_refused(kind: str | None, proxying: Any) -> None:
    async with proxying.both() as (upstream, served):
        headers = {} if kind is None else {"content-type": kind}
        answer = await served.client.post(CHAT, content=b"{}", headers=headers)
        assert (answer.status_code, len(upstream.asked)) == (415, 0)


async def test_body_of_very_many_parts_is_refused(proxying: Any) -> None:
    async with proxying.both() as (_, served):
        content = b'{"messages":[' + b"{},   " * 210_000 + b"{}]}"
        answer = await served.client.post(CHAT, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 413
        assert "too many objects" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", [CHAT, "/v1/files"])
@pytest.mark.parametrize("sent", [b"", b"{}"])
async def test_client_that_does_not_send_its_body_holds_no_place(
    path: str, sent: bytes, proxying: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_proxy_body, "PATIENCE", 0.3)
    monkeypatch.setattr(_proxy_forward, "PATIENCE", 0.3)
    async with proxying.both(max_concurrency=1) as (_, served):
        port = int(served.url.rpartition(":")[2])
        async with await anyio.connect_tcp("127.0.0.1", port) as stalled:
            lines = [
                f"POST {path} HTTP/1.1",
                "host: x",
                "content-type: application/json",
                "content-length: 10",
            ]
            await stalled.send("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
            await anyio.sleep(0.1)
            assert (await served.ask()).status_code == 429
            with anyio.fail_after(5):
                assert b" 408 " in await stalled.receive()
            assert (await served.ask()).status_code == 200


async def test_client_that_sends_two_requests_and_leaves_holds_no_place(proxying: Any) -> None:
    async def handler(asked: Any) -> None:
        await asked.client_left()

    async with proxying.both(handler, max_concurrency=1) as (upstream, served):
        port = int(served.url.rpartition(":")[2])
        body = b'{"model":"m","messages":[{"role":"user","content":"q"}]}'
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        one = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        async with await anyio.connect_tcp("127.0.0.1", port) as leaving:
            await leaving.send(one + one)
            with anyio.fail_after(5):
                while not upstream.asked:  # noqa: ASYNC110  (another's list)
                    await anyio.sleep(0.01)
        statuses = []
        for _ in range(50):
            with anyio.move_on_after(0.1):
                statuses.append((await served.ask("another")).status_code)
            if len(statuses) == 0 or statuses[-1] != 429:
                break
            await anyio.sleep(0.05)
        assert len(upstream.asked) == 2  # a place was free, and the upstream asked on it


@pytest.mark.parametrize("head", ["GET /healthz HTTP/1.1\r\nx-long: ", "GET /v1/models?"])
async def test_header_without_end_is_refused(head: str, proxying: Any) -> None:
    async with proxying.both() as (_, served):
        port = int(served.url.rpartition(":")[2])
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            await client.send(head.encode())
            answer = b""
            broken = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
            with anyio.fail_after(5):
                with suppress(*broken):
                    for _ in range(100):
                        await client.send(b"a" * 16_000)
                        await anyio.lowlevel.checkpoint()
                with suppress(*broken):
                    answer = await client.receive()
            assert answer == b"" or b" 431 " in answer or b" 400 " in answer
        assert (await served.client.get("/healthz")).status_code == 200
