"""The caching transport from the first call to the last: what it opens, waits for and closes."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from asynccache.integrations import _holding
from asynccache.stages import SingleFlight
from tests.integrations._transports import (
    URL,
    SlowBackend,
    answering,
    asked,
    cache,
    caching,
    document,
    each_library,
    event,
)

pytestmark = [pytest.mark.anyio, each_library]

UNCACHED = ".*requests go out uncached"


@pytest.fixture
def short_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a pipeline waits half a second for calls under way, rather than five."""
    monkeypatch.setitem(vars(SingleFlight)["__init__"].__kwdefaults__, "drain", 0.5)


async def test_inner_transport_is_entered_and_left_as_by_the_client_itself(library: Any) -> None:
    async def answer(request: Any) -> Any:
        assert inner.entered == 1
        return library.Response(200, json=document())

    inner = answering(library, answer)
    own_cache = cache()
    async with library.AsyncClient(transport=caching(library, own_cache, inner)) as client:
        await client.post(URL, json=asked())
        assert own_cache.is_open
    assert (inner.entered, inner.left, inner.closed, own_cache.is_open) == (1, 1, 0, False)
    client = library.AsyncClient(transport=caching(library, cache(), inner))
    await client.aclose()
    assert (inner.entered, inner.left, inner.closed) == (1, 1, 1)


async def test_slow_store_costs_one_patience_and_no_answer(library: Any) -> None:
    async def answer(request: Any) -> Any:
        return library.Response(200, json=document())

    transport = caching(library, cache(backend=SlowBackend(reading=30)), answering(library, answer))
    async with library.AsyncClient(transport=transport, timeout=0.05) as client:
        began = anyio.current_time()
        response = await client.post(URL, json=asked())
        assert anyio.current_time() - began < 5
        assert (response.json(), "cache-status" in response.headers) == (document(), False)


async def test_slow_leader_costs_one_patience_and_no_answer(library: Any) -> None:
    async def answer(request: Any) -> Any:
        if len(inner.requests) == 1:
            await asyncio.sleep(30)
        return library.Response(200, json=document("own"))

    inner = answering(library, answer)
    async with library.AsyncClient(transport=caching(library, cache(), inner)) as client:
        leader = asyncio.ensure_future(client.post(URL, json=asked()))
        while not inner.requests:  # noqa: ASYNC110  (another's list)
            await asyncio.sleep(0.01)
        with anyio.fail_after(5):
            response = await client.post(URL, json=asked(), timeout=0.05)
        assert response.json() == document("own")
        leader.cancel()
        await asyncio.wait([leader])


async def test_own_call_may_take_longer_than_the_patience(library: Any) -> None:
    async def answer(request: Any) -> Any:
        await asyncio.sleep(0.5)
        return library.Response(200, json=document())

    inner = answering(library, answer)
    async with library.AsyncClient(transport=caching(library, cache(), inner), timeout=0.05) as client:
        assert "cache-status" in (await client.post(URL, json=asked())).headers
    assert len(inner.requests) == 1


async def test_first_calls_at_once_open_the_pipeline_once(library: Any) -> None:
    async def answer(request: Any) -> Any:
        return library.Response(200, json=document())

    backend = SlowBackend(opening=0.1)
    async with library.AsyncClient(
        transport=caching(library, cache(backend=backend), answering(library, answer))
    ) as client:
        responses = await asyncio.gather(*[client.post(URL, json=asked(str(n))) for n in range(10)])
    assert all("cache-status" in response.headers for response in responses)
    assert backend.openings == 1


async def test_slow_opening_costs_one_patience_and_goes_on(library: Any) -> None:
    async def answer(request: Any) -> Any:
        return library.Response(200, json=document())

    backend = SlowBackend(opening=0.6)
    transport = caching(library, cache(backend=backend), answering(library, answer))
    async with library.AsyncClient(transport=transport, timeout=0.02) as client:
        assert "cache-status" not in (await client.post(URL, json=asked())).headers
        await asyncio.sleep(1)
        assert "cache-status" in (await client.post(URL, json=asked())).headers
    assert backend.openings == 1


async def test_pipeline_that_cannot_be_opened_is_tried_again_once_a_second(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(request: Any) -> Any:
        return library.Response(200, json=document())

    backend = SlowBackend()
    backend.down = True
    own_cache = cache(backend=backend)
    async with library.AsyncClient(
        transport=caching(library, own_cache, answering(library, answer))
    ) as client:
        with pytest.warns(RuntimeWarning, match=UNCACHED):
            await asyncio.gather(*[client.post(URL, json=asked(str(n))) for n in range(5)])
        assert "cache-status" not in (await client.post(URL, json=asked())).headers  # and warns no more
        assert backend.openings == 1
        monkeypatch.setattr(_holding, "RETRY_AFTER", 0.05)
        backend.down = False
        await asyncio.sleep(1.1)
        assert "cache-status" in (await client.post(URL, json=asked())).headers
    assert (backend.openings, own_cache.is_open) == (2, False)


@pytest.mark.usefixtures("short_drain")
@pytest.mark.filterwarnings(f"ignore:{UNCACHED}")
async def test_closing_that_is_cancelled_closes_the_inner_transport_and_sends_nothing_twice(
    library: Any,
) -> None:
    async def answer(request: Any) -> Any:
        await asyncio.sleep(60)

    inner = answering(library, answer)
    client = library.AsyncClient(transport=caching(library, cache(), inner))
    flying = asyncio.ensure_future(client.post(URL, json=asked(), timeout=60))
    while not inner.requests:  # noqa: ASYNC110  (another's list)
        await asyncio.sleep(0.01)
    with anyio.move_on_after(0.1) as scope:
        await client.aclose()
    assert (scope.cancelled_caught, inner.closed) == (True, 1)
    with anyio.fail_after(10), pytest.raises(library.ReadError, match="closed"):
        await flying
    assert len(inner.requests) == 1


@pytest.mark.usefixtures("short_drain")
@pytest.mark.filterwarnings(f"ignore:{UNCACHED}")
async def test_pipeline_closed_under_a_call_breaks_it_as_a_transport_would(library: Any) -> None:
    class Endless(library.AsyncByteStream):  # type: ignore[misc]  # which library is the test's choice
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield event("x")
                await asyncio.sleep(0.05)

    async def answer(request: Any) -> Any:
        return library.Response(200, headers={"content-type": "text/event-stream"}, stream=Endless())

    inner = answering(library, answer)
    own_cache = cache()
    await own_cache.__aenter__()
    async with (
        library.AsyncClient(transport=caching(library, own_cache, inner)) as client,
        client.stream("POST", URL, json=asked(stream=True)) as response,
        asyncio.TaskGroup() as tasks,
    ):
        lines = response.aiter_lines()
        await anext(lines)
        tasks.create_task(own_cache.__aexit__(None, None, None))
        with anyio.fail_after(10), pytest.raises(library.ReadError, match="closed"):
            async for _ in lines:
                pass
    assert len(inner.requests) == 1


async def test_transport_lives_again_after_its_client_was_closed(library: Any) -> None:
    async def answer(request: Any) -> Any:
        return library.Response(200, json=document())

    own_cache = cache()
    transport = caching(library, own_cache, answering(library, answer))
    for _ in range(2):
        async with library.AsyncClient(transport=transport) as client:
            assert "cache-status" in (await client.post(URL, json=asked())).headers
        assert not own_cache.is_open


def test_event_loop_that_ends_while_the_pipeline_opens_leaves_it_to_the_next(library: Any) -> None:
    async def answer(request: Any) -> Any:
        return library.Response(200, json=document())

    backend = SlowBackend(opening=30)
    transport = caching(library, cache(backend=backend), answering(library, answer))
    client = library.AsyncClient(transport=transport)

    async def early() -> None:
        asking = asyncio.ensure_future(client.post(URL, json=asked()))
        await asyncio.sleep(0.1)
        assert not asking.done()

    async def later() -> None:
        backend.opening = 0
        assert "cache-status" in (await client.post(URL, json=asked())).headers

    asyncio.run(early())
    asyncio.run(later())
    assert backend.openings == 2


@pytest.mark.parametrize(
    ("store", "options"),
    [("memory", "decision=None"), ("file", "decision=None"), ("file", "")],
    ids=["memory", "sqlite", "semantic"],
)
@pytest.mark.parametrize("run", ["asyncio", "uvloop"])
def test_program_that_never_closes_its_client_ends_quietly(
    library: Any, store: str, options: str, run: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.db"
    script = PROGRAM.format(
        library=library.__name__,
        backend="memory://" if store == "memory" else f"sqlite:///{file}",
        options=options,
        run=run,
    )
    done = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["asynccache; fwd=miss", "True"]
    if store == "file":
        connection = sqlite3.connect(file)
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (10,)
        connection.close()


PROGRAM = """
import asyncio
import {library} as library, uvloop
from asynccache import CachePipeline
from asynccache.integrations.{library} import CacheTransport

async def answer(request):
    await asyncio.sleep(0.02)
    choice = dict(index=0, message=dict(role="assistant", content="a"), finish_reason="stop")
    body = dict(id="x", object="chat.completion", created=1, model="m", choices=[choice])
    return library.Response(200, json=body)

pipeline = CachePipeline(backend={backend!r}, {options})
client = library.AsyncClient(transport=CacheTransport(pipeline, library.MockTransport(answer)))

def ask(number):
    body = dict(model="m", messages=[dict(role="user", content=f"how tall is tower {{number}}?")])
    return client.post("http://up/v1/chat/completions", json=body)

async def main():
    answers = await asyncio.gather(*map(ask, range(10)))
    print(answers[0].headers["cache-status"])

async def again():
    await asyncio.gather(*map(ask, range(10)))
    print("cache-status" in (await ask(3)).headers)

{run}.run(main())
{run}.run(again())
"""
