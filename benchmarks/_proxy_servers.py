"""The proxies that are measured, each a process with one worker, and what they stand before."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import httpx2
import orjson
from _proxy_load import KEY, LARGE, PATH, QUESTION, body_of
from _proxy_upstream import answer_document

_HERE: Final = Path(__file__).parent
_PATIENCE: Final = 120.0
"""Seconds for a server to start: litellm's takes half a minute."""

ANSWER_BYTES: Final = len(answer_document(QUESTION))
"""Of a stored answer, as the upstream sent it."""
STORES: Final = ("memory", "sqlite", "redis")
PEER_STORES: Final = ("memory", "redis")


@dataclass(frozen=True)
class Proxy:
    """A proxy that serves at a port of 127.0.0.1."""

    name: str
    port: int


@asynccontextmanager
async def process(*command: str, **environment: str) -> AsyncIterator[Process]:
    """A process, ended in the end."""
    started = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env={**os.environ, **environment}
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.terminate()
            try:
                await asyncio.wait_for(started.wait(), 15)
            except TimeoutError:
                started.kill()
                await started.wait()


@asynccontextmanager
async def upstream() -> AsyncIterator[int]:
    """The port of one that answers at once."""
    port = free_port()
    async with process(sys.executable, str(_HERE / "_proxy_upstream.py"), str(port)):
        await answering(port, "/", post=True)
        yield port


@asynccontextmanager
async def ours(store: str, upstream_port: int, folder: Path, redis_port: int | None) -> AsyncIterator[Proxy]:
    """``asynccache serve``."""
    url = {
        "memory": "memory://?max_bytes=256MiB",
        "sqlite": f"sqlite:///{folder}/answers.db",
        "redis": f"redis://127.0.0.1:{redis_port}",
    }[store]
    port = free_port()
    command = ["serve", "--upstream", f"http://127.0.0.1:{upstream_port}/v1", "--port", str(port)]
    command += ["--backend", url, "--decision", "none", "--max-concurrency", "2000", "--grace", "1"]
    async with process(sys.executable, "-m", "asynccache.cli", *command):
        await answering(port, "/readyz")
        yield Proxy(f"asynccache {store}", port)


def litellm() -> str | None:
    """The path of litellm's proxy, or None where it cannot run."""
    given = os.environ.get("LITELLM_PROXY")
    if given:
        return given
    try:
        version("litellm-proxy-extras")
    except PackageNotFoundError:
        return None
    return str(Path(sys.executable).with_name("litellm"))


def peers() -> dict[str, str]:
    """The version of litellm, where its proxy can run."""
    path = litellm()
    if path is None:
        return {}
    ask = "from importlib.metadata import version; print(version('litellm'))"
    asked = subprocess.run(
        [str(Path(path).with_name("python")), "-c", ask], capture_output=True, text=True, check=True
    )
    return {"litellm": asked.stdout.strip()}


@asynccontextmanager
async def theirs(
    store: str, upstream_port: int, folder: Path, redis_port: int | None
) -> AsyncIterator[Proxy]:
    """The proxy of litellm in production mode, without a database, its own log off."""
    path = litellm()
    assert path is not None
    cache: dict[str, Any] = {"type": "local"}
    if store == "redis":
        cache = {"type": "redis", "host": "127.0.0.1", "port": redis_port}
    base = f"http://127.0.0.1:{upstream_port}/v1"
    model = {"model": "openai/m", "api_base": base, "api_key": "none"}
    config = {
        "model_list": [{"model_name": "m", "litellm_params": model}],
        "litellm_settings": {"cache": True, "cache_params": cache, "set_verbose": False},
        "general_settings": {"master_key": KEY, "disable_spend_logs": True},
    }
    file = folder / f"litellm-{store}.yaml"
    file.write_bytes(orjson.dumps(config))  # JSON is YAML
    port = free_port()
    command = [
        path,
        "--config",
        str(file),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--telemetry",
        "False",
    ]
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    async with process(*command, **quiet):
        await answering(port, "/health/liveliness")
        yield Proxy(f"litellm proxy {store}", port)


def free_port() -> int:
    """A port nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


async def answering(port: int, path: str, *, post: bool = False) -> None:
    """Wait until a server answers 200."""
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        async with asyncio.timeout(_PATIENCE):
            while True:
                try:
                    response = await (client.post(path, json=body_of("hi")) if post else client.get(path))
                except httpx2.RequestError:
                    await asyncio.sleep(0.1)
                    continue
                if response.status_code == 200:
                    return
                await asyncio.sleep(0.1)


async def filled(proxy: Proxy, *, large: bool = False) -> None:
    """Ask until the answers are stored; they must be the right ones."""
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(trust_env=False, headers=headers, timeout=60) as client:
        for question in (QUESTION, QUESTION, *([LARGE] if large else [])):
            response = await client.post(f"http://127.0.0.1:{proxy.port}{PATH}", json=body_of(question))
            text = response.raise_for_status().json()["choices"][0]["message"]["content"]
            if not text.startswith("word word"):
                raise RuntimeError(f"{proxy.name} gave a wrong answer")
