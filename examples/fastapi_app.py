"""A FastAPI application whose answers are cached: questions, streams, and an OpenAI-compatible endpoint.

python examples/fastapi_app.py --port 8000

Asks the server at the UPSTREAM variable (a base URL with /v1), or else a stand-in that needs no model.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request, Response

from asynccache import CachePipeline
from asynccache.integrations.fastapi import (
    CacheDep,
    answer_request,
    cache_lifespan,
    cache_response,
    install_error_handlers,
)
from asynccache.server.standin import StandIn


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Find the upstream, then open the cache in front of it.

    An application that knows its upstream needs none of this:
    ``FastAPI(lifespan=cache_lifespan(CachePipeline("https://api.openai.com/v1")))``.
    """
    async with AsyncExitStack() as stack:
        upstream = os.environ.get("UPSTREAM")
        if upstream is None:
            upstream = (await stack.enter_async_context(StandIn(latency=0.5, per_token=0.05))).base_url
        # In an application "sqlite:///cache.sqlite", or a redis:// URL.
        cache = CachePipeline(upstream, default_model="gpt-5-mini", backend="memory://")
        await stack.enter_async_context(cache_lifespan(cache)(app))
        yield


app = FastAPI(lifespan=lifespan)
install_error_handlers(app)


@app.get("/ask")
async def ask(question: str, cache: CacheDep) -> dict[str, object]:
    """Answer as text, and say where it came from."""
    outcome = await cache.ask(question)
    return {"answer": outcome.text, "source": outcome.source.value, "age": outcome.age}


@app.get("/stream")
async def stream(question: str, cache: CacheDep) -> Response:
    """Answer in events, as the words come; the second time all at once."""
    return cache_response(cache.stream(messages=[{"role": "user", "content": question}]))


@app.post("/v1/chat/completions")
async def chat_completions(request: Request, cache: CacheDep) -> Response:
    """Take OpenAI's own client: ``OpenAI(base_url="http://127.0.0.1:8000/v1")``."""
    return await answer_request(cache, request)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port)


if __name__ == "__main__":
    main()
