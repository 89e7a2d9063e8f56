"""The example applications, as processes of their own, asked over HTTP."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import openai
import pytest

from asynccache.server.standin import StandIn

ROOT = Path(__file__).parents[2]
APPS = sorted((ROOT / "examples").glob("*_app.py"))
MESSAGES: Any = [{"role": "user", "content": "What is a cache?"}]
QUESTION = {"question": "What is a cache?"}

pytestmark = [
    pytest.mark.anyio,
    # What is tested runs in another process, on a loop of its own.
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.parametrize("example", APPS, ids=lambda path: path.stem),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def answering(url: str, process: subprocess.Popen[str]) -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        with anyio.fail_after(30):
            while process.poll() is None:
                try:
                    await http.get(url)
                except httpx2.TransportError:
                    await anyio.sleep(0.05)
                else:
                    return
    pytest.fail(f"ended with {process.returncode}: {process.communicate()[1]}")


async def ended(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    try:
        return (await asyncio.to_thread(process.communicate, timeout=15))[1]
    finally:
        process.kill()


@pytest.fixture
async def upstream() -> AsyncIterator[StandIn]:
    async with StandIn() as running:
        yield running


@pytest.fixture(params=[False, True], ids=["stand-in", "upstream"])
async def url(
    example: Path, request: pytest.FixtureRequest, upstream: StandIn, tmp_path: Path
) -> AsyncIterator[str]:
    port = free_port()
    given = {"UPSTREAM": upstream.base_url} if request.param else {}
    with subprocess.Popen(  # noqa: ASYNC220  (takes milliseconds)
        [sys.executable, "-W", "error", str(example), "--port", str(port)],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **given},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            await answering(f"http://127.0.0.1:{port}/nothing-here", process)
            yield f"http://127.0.0.1:{port}"
            assert upstream.stats.requests == (2 if request.param else 0)
        finally:
            told = await ended(process)
        assert "Traceback" not in told, told
        assert process.returncode in {0, -signal.SIGINT, 130}


async def test_application_answers_the_second_time_from_its_cache(url: str) -> None:
    async with (
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as http,
    ):
        create = client.chat.completions.with_raw_response.create
        first = await create(model="gpt-5-mini", messages=MESSAGES)
        second = await create(model="gpt-5-mini", messages=MESSAGES)
        stream = await client.chat.completions.create(model="gpt-5-mini", messages=MESSAGES, stream=True)
        streamed = [chunk.choices[0].delta.content or "" async for chunk in stream]
        asked = (await http.get("/ask", params=QUESTION)).json()
        events = await http.get("/stream", params={"question": "And what is a stream?"})
    text = first.parse().choices[0].message.content
    assert first.headers["cache-status"] == "asynccache; fwd=miss"
    assert "hit" in second.headers["cache-status"]
    assert second.parse().choices[0].message.content == text == "".join(streamed)
    assert (asked["answer"], asked["source"]) == (text, "exact")
    assert events.headers["content-type"].startswith("text/event-stream")
    assert events.content.endswith(b"data: [DONE]\n\n")
