"""LangChain models remember their answers: the same question costs one call, by ainvoke and invoke alike.

python examples/langchain_cache.py
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel

from asynccache.integrations.langchain import AsyncCacheLLM

# Stands in for a chat model; half a second an answer.
model = FakeListChatModel(responses=["A cache remembers answers.", "(asked again)"], sleep=0.5)


async def ask() -> str:
    """Ask as an async application does."""
    return str((await model.ainvoke("What is a cache?")).content)


def main() -> None:
    """Ask the same question three times: from two event loops, and from none."""
    cache = AsyncCacheLLM("memory://")  # in an application "sqlite:///cache.sqlite", or a redis:// URL
    set_llm_cache(cache)
    for way in ("ainvoke", "ainvoke", "invoke"):
        began = perf_counter()
        text = asyncio.run(ask()) if way == "ainvoke" else model.invoke("What is a cache?").content
        print(f"{1000 * (perf_counter() - began):6.1f} ms  {way:7}  {text}")
    print(cache.stats())


if __name__ == "__main__":
    main()
