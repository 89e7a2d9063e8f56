"""An answer too old for a request is served when the upstream fails, and only then."""

from __future__ import annotations

from typing import Any

import pytest

from asynccache import CachePipeline, Source, UpstreamBadRequest, UpstreamServerError
from asynccache._errors import UpstreamError
from asynccache.backends import MemoryBackend
from asynccache.testing import FakeClock

pytestmark = pytest.mark.anyio

BODY = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


class Upstream:
    """Answers, until it is told to fail."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls = 0

    async def __call__(self, _: dict[str, Any]) -> str:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return f"answer {self.calls}"


def pipeline(upstream: Upstream, clock: FakeClock) -> CachePipeline:
    return CachePipeline(upstream, backend=MemoryBackend(clock=clock), decision=None, clock=clock, ttl=1000)


@pytest.mark.parametrize("error", [UpstreamServerError("down", status=500), ConnectionError("no route")])
@pytest.mark.parametrize("streamed", [False, True])
async def test_failing_upstream_is_answered_for_by_an_older_answer(error: Exception, streamed: bool) -> None:
    upstream, clock = Upstream(), FakeClock()
    async with pipeline(upstream, clock) as cache:
        await cache.fetch(BODY)
        clock.advance(90)
        upstream.error = error
        control = {"max_age": 60, "stale_if_error": 30}
        if streamed:
            async with cache.stream(BODY, control=control) as stream:
                outcome = await stream.collect()
        else:
            outcome = await cache.fetch(BODY, control=control)
        assert (outcome.text, outcome.source, outcome.hit) == ("answer 1", Source.STALE, True)
        assert outcome.reasons == ("older than max_age", f"the upstream failed ({type(error).__name__})")
        assert upstream.calls == 2
        upstream.error = None
        assert (await cache.fetch(BODY, control=control)).text == "answer 3"


@pytest.mark.parametrize(
    ("control", "age", "error"),
    [
        ({"max_age": 60, "stale_if_error": 29}, 90, UpstreamServerError("down")),
        ({"max_age": 60}, 61, UpstreamServerError("down")),
        ({"max_age": 60, "stale_if_error": 30}, 90, UpstreamBadRequest("no")),
        ({"max_age": 60, "stale_if_error": 5000}, 1000, UpstreamServerError("down")),
        ({"no_cache": True, "stale_if_error": 5000}, 1, UpstreamServerError("down")),
        ({"max_age": 0, "stale_if_error": 50, "tags": ("t",)}, 1, UpstreamServerError("down")),
    ],
)
async def test_what_is_too_old_or_refused_otherwise_is_not_served(
    control: Any, age: float, error: UpstreamError
) -> None:
    upstream, clock = Upstream(), FakeClock()
    async with pipeline(upstream, clock) as cache:
        await cache.fetch(BODY)
        clock.advance(age)
        upstream.error = error
        with pytest.raises(type(error)) as raised:
            await cache.fetch(BODY, control=control)
        assert raised.value is error


async def test_question_invalidated_meanwhile_gets_the_error() -> None:
    clock = FakeClock()

    async def fails_after_invalidation(_: dict[str, Any]) -> str:
        if len(calls) == 0:
            calls.append(1)
            return "old"
        await cache.invalidate(BODY)
        raise UpstreamServerError("down")

    calls: list[int] = []
    backend = MemoryBackend(clock=clock)
    async with CachePipeline(fails_after_invalidation, backend=backend, decision=None, clock=clock) as cache:
        await cache.fetch(BODY)
        clock.advance(90)
        with pytest.raises(UpstreamServerError):
            await cache.fetch(BODY, control={"max_age": 60, "stale_if_error": 60})
