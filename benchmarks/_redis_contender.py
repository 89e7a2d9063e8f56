"""One store in a process of its own; the benchmark runs this file as a script.

It fills and checks its store, says so, and then takes turns: for each number of tasks read from its input it
writes the nanoseconds measured. One task is timed call by call, several by the wall clock of all.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from itertools import chain
from typing import Any, Final

import _redis_ours as ours
import _redis_peers as peers
import orjson
from _harness import Case, Variant, crowded, opened, timed, verified
from _workload import Body, Upstream, answer_document, request_body

_LAPS: Final = 20
"""Times a task goes through all requests at most; slower ones stop when the turn is over."""


def variants(port: int) -> list[Variant]:
    """Everyone, by the port of the server."""
    groups = (ours.in_redis, peers.in_redis, ours.in_memory_first, peers.in_memory_first)
    return [peers.floor(port), *chain.from_iterable(group(port) for group in groups)]


async def turn(case: Case, bodies: Sequence[Body], tasks: int) -> dict[str, Any]:
    """``samples`` and, for one call, this process's ``cpu`` in nanoseconds; how many calls ``missed``."""
    asked = case.upstream.calls
    # Wakes connections that have been idle, and reads again what a memory has let go meanwhile.
    await crowded(case.ask, bodies, tasks=tasks, each=max(2, len(bodies) // tasks + 1))
    gc.collect()
    gc.freeze()
    wall, cpu = time.perf_counter(), time.process_time()
    if tasks == 1:
        samples = await timed(case.ask, bodies)
    else:
        # Tasks are spread over the requests, so that no two ask for the same at once.
        each = _LAPS * len(bodies) + max(1, len(bodies) // tasks)
        samples = [round(await crowded(case.ask, bodies, tasks=tasks, each=each))]
    busy = (time.process_time() - cpu) / (time.perf_counter() - wall)
    missed = case.upstream.calls - asked
    return {"samples": samples, "cpu": busy * sum(samples) / len(samples), "missed": missed}


async def serve(variant: Variant, requests: int, reply: Callable[[object], None]) -> None:
    answers = [answer_document(index) for index in range(requests)]
    bodies = [request_body(index) for index in range(requests)]
    said = StringIO()
    with redirect_stdout(said):
        async with opened([variant], lambda: Upstream(answers)) as found:
            cases = await verified(found, bodies)
            reply({"ready": bool(cases), "said": said.getvalue()})
            for case in cases:
                while line := await asyncio.to_thread(sys.stdin.readline):
                    reply(await turn(case, bodies, int(line)))


def main() -> None:
    name, port, requests = sys.argv[1:]
    answers = sys.stdout.buffer

    def reply(value: object) -> None:
        answers.write(orjson.dumps(value) + b"\n")
        answers.flush()

    variant = next(each for each in variants(int(port)) if each.name == name)
    asyncio.run(serve(variant, int(requests), reply))


if __name__ == "__main__":
    main()
