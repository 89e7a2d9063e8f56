"""A pipeline that shapes its requests: what is keyed is what is sent, and it can be invalidated."""

from __future__ import annotations

from typing import Any, Final

import pytest

from asynccache import CachePipeline, ConfigurationError, Source
from asynccache.stages import Normalize, PromptShaper
from asynccache.testing import FakeEmbedder

pytestmark = pytest.mark.anyio

DOSE: Final = "how many milligrams should I take this evening"
DOSE_AGAIN: Final = "this evening I should take how many milligrams"
"""Of the same words: to the embedder below both are one question."""


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def body(*names: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "q"}], "tools": [tool(name) for name in names]}


def asking(*lines: str, question: str = DOSE) -> dict[str, Any]:
    system = "\n".join(("You are the clinic's assistant.", *lines))
    return {"messages": [{"role": "system", "content": system}, {"role": "user", "content": question}]}


def caching(*, semantic: bool = False) -> CachePipeline:
    async def upstream(given: dict[str, Any]) -> str:
        return f"made for {given['messages'][-1]['content']}"

    return CachePipeline(
        upstream,
        backend="memory://",
        decision="threshold" if semantic else None,
        threshold=0.9,
        embedder=FakeEmbedder(),
        shaper=PromptShaper(volatile=True),
    )


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


async def test_what_was_moved_is_part_of_the_key() -> None:
    async with caching() as cache:
        for lines in (("Current user: alice",), ("Current user: bob",), ("Today is 2026-03-01",)):
            assert (await cache.fetch(asking(*lines))).source is Source.UPSTREAM
            assert (await cache.fetch(asking(*lines))).source is Source.EXACT


async def test_a_user_who_writes_the_details_himself_does_not_get_the_answer_of_another() -> None:
    async with caching() as cache:
        moved = await cache.fetch(asking("Current user: alice"))
        assert moved.text == f"made for {DOSE}\n\n[Request details]\nCurrent user: alice"
        forged = asking(question=moved.text.removeprefix("made for "))
        assert (await cache.fetch(forged)).source is Source.UPSTREAM


@pytest.mark.parametrize("other", ["Current user: bob", "Today is 2026-07-09", "Request id: 7"])
async def test_questions_are_compared_only_where_equal_lines_were_moved(other: str) -> None:
    lines = ("Current user: alice", "Today is 2026-03-01")
    async with caching(semantic=True) as cache:
        assert (await cache.fetch(asking(*lines))).source is Source.UPSTREAM
        await cache.flush()
        assert (await cache.fetch(asking(lines[0], other))).source is Source.UPSTREAM
        assert (await cache.fetch(asking(*lines[::-1]))).source is Source.UPSTREAM
        assert (await cache.fetch(asking("\n".join(lines), other))).source is Source.UPSTREAM
        assert (await cache.fetch(asking(*lines, question=DOSE_AGAIN))).source is Source.SEMANTIC


async def test_what_was_moved_is_invalidated_as_it_was_written() -> None:
    async with caching() as cache:
        await cache.fetch(asking("Current user: alice"))
        assert await cache.invalidate(asking("Current user: bob")) == 0
        assert await cache.invalidate(asking("Current user: alice")) == 1


def test_shaper_beside_stages_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="shaper: with stages="):
        CachePipeline(stages=[Normalize()], shaper=PromptShaper())
