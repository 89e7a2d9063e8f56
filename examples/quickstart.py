"""The second identical question is answered from SQLite. Run it twice: the second run starts with a hit.

python examples/quickstart.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from asynccache import CachePipeline


async def model(body: Mapping[str, Any]) -> str:
    """Stands in for a language model: any async callable will do, and so does a base URL."""
    await asyncio.sleep(0.5)
    return f"You asked: {body['messages'][-1]['content']}"


async def main() -> None:
    """Ask the same question three times."""
    async with CachePipeline(upstream=model, backend="sqlite:///quickstart.sqlite") as cache:
        for _ in range(2):
            outcome = await cache.ask("What is a cache?")
            print(f"{outcome.source.value:>8}  {outcome.text}")
        async with cache.stream(messages=[{"role": "user", "content": "What is a cache?"}]) as stream:
            text = "".join([chunk.text async for chunk in stream])
            print(f"{stream.source.value:>8}  {text}  (streamed)")
        print(cache.stats())


if __name__ == "__main__":
    asyncio.run(main())
