"""Against a real vLLM server; run when ``ASYNCCACHE_TEST_VLLM_URL`` names one, with its ``/v1``.

It should run with ``--enable-prefix-caching --enable-prompt-tokens-details``, hold nothing of ours yet and do
nothing else meanwhile. ``ASYNCCACHE_TEST_VLLM_FULL_URL`` may name one that takes no request
(``--max-num-queued-reqs 0``).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2
import orjson
import pytest

from asynccache._errors import UpstreamBadRequest, UpstreamBusy
from asynccache._models import Request, Response, Scope
from asynccache.upstreams.vllm import VLLMMetrics, VLLMUpstream

URL = os.environ.get("ASYNCCACHE_TEST_VLLM_URL", "")
FULL_URL = os.environ.get("ASYNCCACHE_TEST_VLLM_FULL_URL", "")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not URL, reason="ASYNCCACHE_TEST_VLLM_URL names no server"),
]


@pytest.fixture
async def model() -> str:
    async with httpx2.AsyncClient() as client:
        return str((await client.get(f"{URL}/models")).json()["data"][0]["id"])


@pytest.fixture
async def upstream() -> AsyncIterator[VLLMUpstream]:
    made = VLLMUpstream(URL, tenant_secret=uuid4().hex, max_retries=0)
    async with made.lifespan():
        yield made


def body(model: str, *, user: str = "hello", **fields: Any) -> dict[str, Any]:
    """A prompt of some hundred tokens."""
    system = "These are the instructions which every request of this kind begins with. " * 24
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return {"model": model, "messages": messages, "max_tokens": 8, "temperature": 0, **fields}


def details(response: Response) -> dict[str, int]:
    found = orjson.loads(response.body)["usage"]["prompt_tokens_details"]
    assert isinstance(found, dict), "start the server with --enable-prompt-tokens-details"
    return found


async def read(upstream: VLLMUpstream) -> VLLMMetrics:
    (found,) = (await upstream.metrics()).values()
    assert found.metrics is not None, found.reason
    return found.metrics


async def test_salt_keeps_tenants_apart(model: str, upstream: VLLMUpstream) -> None:
    before = await read(upstream)
    cached = [
        details(await upstream.fetch(Request(body=body(model), scope=Scope(tenant=tenant))))["cached_tokens"]
        for tenant in ("a", "a", "b")
    ]
    assert cached[0] == cached[2] == 0
    assert cached[1] > 0
    change = (await read(upstream)).delta(before)
    assert change.prefix_hits == cached[1] == upstream.report().total.cached_tokens
    assert change.hit_ratio == pytest.approx(upstream.report().hit_ratio, abs=1e-3)


async def test_prewarmed_prefix_is_found_by_the_first_request(model: str, upstream: VLLMUpstream) -> None:
    metrics = await read(upstream)
    assert metrics.block_size is not None
    request = Request(body=body(model, user="never asked before"), scope=Scope(tenant="c"))
    report = await upstream.prewarm([request])
    assert (report.sent, report.failed, report.cached_tokens) == (1, 0, 0)
    whole = report.prompt_tokens // metrics.block_size * metrics.block_size
    assert report.created_tokens == whole > 0
    assert details(await upstream.fetch(request))["cached_tokens"] >= whole


async def test_stream_says_what_was_cached(model: str, upstream: VLLMUpstream) -> None:
    request = Request(body=body(model, stream_options={"include_usage": True}), scope=Scope(tenant="d"))
    for _ in range(2):
        stream = await upstream.stream(request)
        assert [frame async for frame in stream]
    total = upstream.report().total
    assert (total.requests, total.unknown) == (2, 0)
    assert 0 < total.cached_tokens < total.prompt_tokens
    assert set(upstream._router.in_flight.values()) == {0}


async def test_guided_choice_constrains_the_answer(model: str, upstream: VLLMUpstream) -> None:
    response = await upstream.fetch(Request(body=body(model, guided_choice=["yes", "no"], max_tokens=16)))
    assert orjson.loads(response.body)["choices"][0]["message"]["content"] in ("yes", "no")


async def test_empty_salt_is_the_servers_to_refuse(model: str, upstream: VLLMUpstream) -> None:
    with pytest.raises(UpstreamBadRequest):
        await upstream.fetch(Request(body=body(model, cache_salt="")))


@pytest.mark.skipif(not FULL_URL, reason="ASYNCCACHE_TEST_VLLM_FULL_URL names no server")
async def test_full_queue_is_busy_and_another_replica_answers(model: str) -> None:
    full = VLLMUpstream(FULL_URL, max_retries=0)
    async with full.lifespan():
        with pytest.raises(UpstreamBusy):
            await full.fetch(Request(body=body(model)))
    both = VLLMUpstream([FULL_URL, URL], max_retries=1)
    async with both.lifespan():
        for number in range(8):
            await both.fetch(Request(body=body(model, user=f"question {number}")))
