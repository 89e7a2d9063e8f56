"""A process that asks one question many times at once; run by test_processes.py.

It says ``ready`` when its pipeline is open, waits for a line, and tells at the end what came of it. When it
asks the upstream it says ``asked``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from asynccache import CachePipeline, Request, Response
from asynccache._stream import Stream
from asynccache.upstreams import OpenAIUpstream

QUESTION = "one two three four five six seven eight nine ten"


def say(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


class Announcing(OpenAIUpstream):
    async def fetch(self, request: Request) -> Response:
        say("asked")
        return await super().fetch(request)

    async def stream(self, request: Request) -> Stream:
        say("asked")
        return await super().stream(request)


async def ask(cache: CachePipeline, mode: str) -> tuple[str, str]:
    body = {"model": "m", "messages": [{"role": "user", "content": QUESTION}]}
    if mode == "fetch":
        outcome = await cache.fetch(body)
        return outcome.text, outcome.source.value
    async with cache.stream(body) as stream:
        text = "".join([chunk.text async for chunk in stream])
    return text, stream.outcome.source.value


async def main(backend: str, upstream: str, modes: str, times: int) -> None:
    async with CachePipeline(Announcing(upstream), backend=backend, decision=None) as cache:
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        wanted = modes.split(",")
        answers = await asyncio.gather(
            *(ask(cache, wanted[at % len(wanted)]) for at in range(times)), return_exceptions=True
        )
        texts = Counter(answer[0] for answer in answers if isinstance(answer, tuple))
        sources = Counter(answer[1] for answer in answers if isinstance(answer, tuple))
        errors = [repr(answer) for answer in answers if not isinstance(answer, tuple)]
        failed = dict(cache.stats().failed)
    told = {"texts": texts, "sources": sources, "errors": errors, "failed": failed}
    say("told " + json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
