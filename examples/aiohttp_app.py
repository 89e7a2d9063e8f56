"""An aiohttp application whose answers are cached: questions, streams, and an OpenAI-compatible endpoint.

python examples/aiohttp_app.py --port 8000

Asks the server at the UPSTREAM variable (a base URL with /v1), or else a stand-in that needs no model.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator

from aiohttp import web

from asynccache import CachePipeline
from asynccache.integrations.aiohttp import CACHE, answer_request, cache_ctx, cache_errors, cache_response
from asynccache.server.standin import StandIn

# Listens from the moment its context is entered; not used when there is an upstream.
stand_in = StandIn(latency=0.5, per_token=0.05)


async def stand_in_ctx(_: web.Application) -> AsyncIterator[None]:
    """Serve the stand-in beside the application."""
    async with stand_in:
        yield


def make_cache() -> CachePipeline:
    """Make the cache, once it is known what it stands in front of."""
    upstream = os.environ.get("UPSTREAM") or stand_in.base_url
    # In an application "sqlite:///cache.sqlite", or a redis:// URL.
    return CachePipeline(upstream, default_model="gpt-5-mini", backend="memory://")


async def ask(request: web.Request) -> web.StreamResponse:
    """Answer as text, and say where it came from."""
    outcome = await request.app[CACHE].ask(request.query["question"])
    return web.json_response({"answer": outcome.text, "source": outcome.source.value, "age": outcome.age})


async def stream(request: web.Request) -> web.StreamResponse:
    """Answer in events, as the words come; the second time all at once."""
    messages = [{"role": "user", "content": request.query["question"]}]
    return await cache_response(request, request.app[CACHE].stream(messages=messages))


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """Take OpenAI's own client: ``OpenAI(base_url="http://127.0.0.1:8000/v1")``."""
    return await answer_request(request.app[CACHE], request)


def application() -> web.Application:
    """The application, with its cache."""
    app = web.Application(middlewares=[cache_errors], client_max_size=16 * 2**20)
    if "UPSTREAM" not in os.environ:
        app.cleanup_ctx.append(stand_in_ctx)
    app.cleanup_ctx.append(cache_ctx(make_cache))
    app.router.add_get("/ask", ask)
    app.router.add_get("/stream", stream)
    app.router.add_post("/v1/chat/completions", chat_completions)
    return app


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    web.run_app(application(), host="127.0.0.1", port=parser.parse_args().port)


if __name__ == "__main__":
    main()
