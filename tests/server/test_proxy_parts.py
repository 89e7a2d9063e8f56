"""Parts of the proxy by themselves."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import anyio
import pytest

from asynccache._errors import ConfigurationError
from asynccache._lifespan import Nursery
from asynccache._wire.routes import paths
from asynccache.server import _proxy_protocol
from asynccache.server._proxy_gate import Gate
from asynccache.server._proxy_openapi import document
from asynccache.server._proxy_options import ENVIRONMENT, ProxyOptions
from asynccache.server._proxy_refusal import Refusal
from asynccache.server._proxy_signals import drained_on_signals
from asynccache.server.proxy import ProxyApp

pytestmark = pytest.mark.anyio


def test_options_reach_a_worker_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ProxyOptions(
        upstream="http://x/v1",
        workers=3,
        keys="k.toml",
        pipeline={"ttl": None, "decision": None, "backend": "b"},
    )
    monkeypatch.setenv(ENVIRONMENT, options.to_json())
    assert ProxyOptions.from_environment() == options
    assert not ENVIRONMENT.startswith("ASYNCCACHE_")  # those are options of the pipeline


def test_worker_without_options_says_how_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(ConfigurationError, match="asynccache serve"):
        ProxyOptions.from_environment()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"upstream": None}, "--upstream"),
        ({"upstream": "ftp://x"}, "expected http"),
        ({"upstream": "http://x/v1", "upstream_key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY"),
        ({"upstream": "http://x/v1", "pipeline": {"backend": "redsi://x"}}, "redsi"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_opens(
    proxying: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        ProxyApp(ProxyOptions(**options))


def test_interface_tells_every_path_and_every_status_of_ours() -> None:
    told = document(paths())
    for path in paths():
        responses = told["paths"][f"/v1{path}"]["post"]["responses"]
        assert set(responses) >= {"200", "400", "401", "405", "413", "415", "429", "500", "502", "503", "504"}


async def test_gate_drains_when_the_last_has_left() -> None:
    gate = Gate(2)
    gate.open = True
    gate.enter()
    gate.enter()
    with pytest.raises(Refusal, match="too many"):
        gate.enter()
    loop = asyncio.get_running_loop()
    loop.call_later(0.02, gate.leave)
    loop.call_later(0.04, gate.leave)
    assert await gate.drained(5)
    with pytest.raises(Refusal, match="closing"):
        gate.enter()


async def test_gate_gives_up_after_the_grace() -> None:
    gate = Gate(1)
    gate.open = True
    gate.enter()
    assert not await gate.drained(0.01)


async def test_signal_drains_first_and_is_passed_on_then() -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    gate, nursery = Gate(1), Nursery()
    gate.open = True
    try:
        async with nursery.lifespan():
            with drained_on_signals(gate, nursery, grace=5):
                gate.enter()
                signal.raise_signal(signal.SIGTERM)
                assert gate.draining
                signal.raise_signal(signal.SIGTERM)
                await anyio.sleep(0.05)
                assert not told
                gate.leave()
                await anyio.sleep(0.05)
                assert told == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_connection_whose_answer_is_not_taken_is_closed(
    proxying: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_proxy_protocol, "STALL_SECONDS", 0.3)
    text = "word " * 3_000_000

    async def answer(asked: Any) -> None:
        await asked.answer(proxying.completion(text))

    async with proxying.both(answer) as (_, served):
        assert len((await served.ask()).content) > 15_000_000
        _, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]), limit=1024)
        body = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer one\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await anyio.sleep(0.2)
        assert served.app._gate.running == 1
        with anyio.fail_after(5):
            while served.app._gate.running:  # noqa: ASYNC110  (nothing tells of it)
                await anyio.sleep(0.01)
        writer.close()
    assert not served.reports


async def test_connection_whose_header_does_not_come_is_closed(
    proxying: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_proxy_protocol, "HEADER_SECONDS", 0.2)
    async with proxying.both() as (_, served):
        port = int(served.url.rpartition(":")[2])
        for beginning in (
            b"",
            b"GET /healthz HTTP/1.1\r\nhost: x\r\n",
            b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(beginning)
            if beginning.endswith(b"\r\n\r\n"):
                assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
                await anyio.sleep(0.3)
                writer.write(beginning)  # an idle connection is no late header
                assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
                writer.write(b"GET")
            with anyio.fail_after(5):
                assert await reader.read() == b""
            writer.close()
