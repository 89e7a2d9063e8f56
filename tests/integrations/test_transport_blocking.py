"""The caching transport under blocking clients: from the first call to the end of the program."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integrations._transports import (
    URL,
    SlowBackend,
    asked,
    blocking,
    cache,
    caching,
    document,
    each_library,
)

pytestmark = each_library

UNCACHED = ".*requests go out uncached"


@pytest.mark.parametrize("value", ["café".encode(), "café".encode("latin-1")])
def test_bytes_of_a_header_survive(library: Any, value: bytes) -> None:
    def answer(request: Any) -> Any:
        return library.Response(200, headers=[(b"x-region", value)], json=document())

    with library.Client(transport=caching(library, cache(), blocking(library, answer))) as client:
        response = client.post(URL, json=asked())
    assert (b"x-region", value) in response.headers.raw
    assert response.headers["cache-status"] == "asynccache; fwd=miss"


def test_inner_transport_is_entered_and_left_as_by_the_client_itself(library: Any) -> None:
    inner = blocking(library, lambda request: library.Response(200, json=document()))
    with library.Client(transport=caching(library, cache(), inner)) as client:
        client.post(URL, json=asked())
        assert inner.entered == 1
    assert (inner.left, inner.closed) == (1, 0)
    library.Client(transport=caching(library, cache(), inner)).close()
    assert (inner.entered, inner.left, inner.closed) == (1, 1, 1)


def test_own_answer_tells_its_version_and_reason_and_a_hit_does_not(library: Any) -> None:
    told = {"http_version": b"HTTP/2", "reason_phrase": b"Fine"}
    inner = blocking(library, lambda request: library.Response(200, json=document(), extensions=told))
    with library.Client(transport=caching(library, cache(), inner)) as client:
        own, hit = (client.post(URL, json=asked()) for _ in range(2))
    assert (own.http_version, own.reason_phrase) == ("HTTP/2", "Fine")
    assert (hit.http_version, hit.reason_phrase) == ("HTTP/1.1", "OK")


def test_request_with_a_target_of_its_own_passes_by(library: Any) -> None:
    inner = blocking(library, lambda request: library.Response(200, json=document()))
    with library.Client(transport=caching(library, cache(), inner)) as client:
        for _ in range(2):
            response = client.post(URL, json=asked(), extensions={"target": b"/a/v1/chat/completions"})
            assert "cache-status" not in response.headers
    assert len(inner.requests) == 2


def test_slow_store_costs_one_patience_and_no_answer(library: Any) -> None:
    inner = blocking(library, lambda request: library.Response(200, json=document()))
    own_cache = cache(backend=SlowBackend(reading=30))
    with library.Client(transport=caching(library, own_cache, inner), timeout=0.05) as client:
        began = time.monotonic()
        assert client.post(URL, json=asked()).json() == document()
        assert time.monotonic() - began < 5
    assert len(inner.requests) == 1


def test_pipeline_that_cannot_be_opened_is_tried_again_once_a_second(library: Any) -> None:
    backend = SlowBackend()
    backend.down = True
    inner = blocking(library, lambda request: library.Response(200, json=document()))
    with library.Client(transport=caching(library, cache(backend=backend), inner)) as client:
        with pytest.warns(RuntimeWarning, match=UNCACHED):
            client.post(URL, json=asked())
        assert "cache-status" not in client.post(URL, json=asked()).headers  # and warns no more
        assert backend.openings == 1
        backend.down = False
        time.sleep(1.1)
        assert "cache-status" in client.post(URL, json=asked()).headers
    assert backend.openings == 2


def test_program_that_never_closes_its_client_ends_quietly(library: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    script = PROGRAM.format(library=library.__name__, file=str(file))
    done = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["asynccache; fwd=miss"]
    connection = sqlite3.connect(file)
    assert connection.execute("SELECT count(*) FROM entries").fetchone() == (1,)
    connection.close()


PROGRAM = """
import {library} as library
from asynccache import CachePipeline
from asynccache.integrations.{library} import CacheTransport

def answer(request):
    choice = dict(index=0, message=dict(role="assistant", content="a"), finish_reason="stop")
    body = dict(id="x", object="chat.completion", created=1, model="m", choices=[choice])
    return library.Response(200, json=body)

pipeline = CachePipeline(backend="sqlite:///" + {file!r}, decision=None)
client = library.Client(transport=CacheTransport(pipeline, library.MockTransport(answer)))
body = dict(model="m", messages=[dict(role="user", content="q")])
print(client.post("http://up/v1/chat/completions", json=body).headers["cache-status"])
"""
