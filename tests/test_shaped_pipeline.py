"""A pipeline that shapes its requests: what is keyed is what is sent, and it can be invalidated."""

from __future__ import annotations

from typing import Any

import pytest

from asynccache import CachePipeline, ConfigurationError, Source
from asynccache.stages import Normalize, PromptShaper

pytestmark = pytest.mark.anyio


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def body(*names: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "q"}], "tools": [tool(name) for name in names]}


async def test_requests_that_are_shaped_alike_are_sent_alike_and_share_an_answer() -> None:
    sent: list[list[str]] = []

    async def upstream(given: dict[str, Any]) -> str:
        sent.append([each["function"]["name"] for each in given["tools"]])
        return "a"

    async with CachePipeline(upstream, backend="memory://", decision=None, shaper=PromptShaper()) as cache:
        sources = [(await cache.fetch(body(*names))).source for names in ("ba", "ab", "ba")]
        assert sources == [Source.UPSTREAM, Source.EXACT, Source.EXACT]
        assert sent == [["a", "b"]]
        assert await cache.invalidate(body("a", "b")) == 1
        assert (await cache.fetch(body("b", "a"))).source is Source.UPSTREAM


def test_shaper_beside_stages_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="shaper: with stages="):
        CachePipeline(stages=[Normalize()], shaper=PromptShaper())
