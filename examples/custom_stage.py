"""A chain of one's own: two stages and a check beside the standard ones.

python examples/custom_stage.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from asynccache import CachePipeline, Candidate, Exchange, Request, Stage, open_backend
from asynccache.stages import ExactLookup, MissHandler, Normalize, SingleFlight, Validate, Write
from asynccache.upstreams import CallableUpstream


async def model(body: Mapping[str, Any]) -> str:
    """Stands in for a language model."""
    return f"You asked: {body['messages'][-1]['content']}"


async def keep_secrets_out(exchange: Exchange) -> Exchange:
    """A plain async function is a stage. This one keeps some requests out of the cache altogether."""
    if "password" in str(exchange.request.body["messages"]):
        return exchange.bypassing("mentions a password")
    return exchange


class CountQuestions:
    """So is an object with an async __call__. Returning the very object it was given means "passed"."""

    def __init__(self) -> None:
        self.seen = 0

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        self.seen += 1
        return exchange


def short_enough(request: Request, candidate: Candidate) -> str | None:
    """A check of the validator: a reason to refuse a stored answer, or None."""
    limit = 10_000 if request.scope.tenant is None else 1_000
    return "too long for a pager" if len(candidate.entry.response.body) > limit else None


async def main() -> None:
    """Ask a few questions."""
    backend = open_backend("memory://?max_entries=1000")
    count = CountQuestions()
    stages: list[Stage] = [
        count,
        Normalize(),
        keep_secrets_out,
        ExactLookup(backend),
        Validate(short_enough),
        SingleFlight(MissHandler(CallableUpstream(model)), Write(backend)),
    ]
    async with CachePipeline(stages=stages) as cache:
        for question in (
            "What is a cache?",
            "What is a cache?",
            "Is my password 1234?",
            "Is my password 1234?",
        ):
            outcome = await cache.ask(question)
            print(f"{outcome.source.value:>8}  {question}  {', '.join(outcome.reasons)}")
    print(f"{count.seen} questions")


if __name__ == "__main__":
    asyncio.run(main())
