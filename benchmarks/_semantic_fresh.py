"""What a new process finds in a store that exists; the benchmark runs this file as a script.

``start``: seconds from making the pipeline to its first semantic hit, with all the libraries this loads
except numpy, and the same from the start of the process. ``with`` and ``without`` the semantic tier: bytes
by which the process grows when it opens the pipeline and serves, everything imported before.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Literal, get_args

import _semantic_ours as ours
import orjson
from _semantic_workload import Judge, Model, Questions, Table, body_of, entry_text, resident_bytes

Mode = Literal["start", "with", "without"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)

ASKED: Final = 200
"""Questions of each kind, so that what a first call allocates is counted."""
_FILE: Final = "questions.npz"


def measured(mode: Mode, directory: Path, questions: Questions) -> dict[str, float]:
    """What a process of its own finds; nobody else may have the store open."""
    questions.save(directory / _FILE, ASKED)
    command = [sys.executable, __file__, mode, str(directory), str(time.time())]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    (directory / _FILE).unlink()
    found: dict[str, float] = orjson.loads(printed.splitlines()[-1])
    return found


async def start(directory: Path, questions: Questions, spawned: float) -> dict[str, float]:
    table = Table(questions)
    began = time.perf_counter()
    async with ours.semantic(Model(), directory, table) as cache:
        await ours.first_hit(cache.ask, questions, next(questions.bodies()))
        return {"seconds": time.perf_counter() - began, "since_spawned": time.time() - spawned}


async def growth(directory: Path, questions: Questions, *, tier: bool) -> dict[str, float]:
    import hnswlib  # noqa: F401  (so that it is not counted)

    from asynccache.index import BackendIndex, PartitionIndex  # noqa: F401  (likewise)

    known = [body_of(entry_text(int(entry))) for entry in questions.entries]
    judge, table = Judge(questions), Table(questions)
    before = resident_bytes()
    if tier:
        async with ours.semantic(Model(), directory, table) as cache:
            ask = judge.around(cache.ask)
            await ours.first_hit(cache.ask, questions, next(questions.bodies()))
            for new, old in zip(questions.bodies(), known, strict=True):
                await ask(new)
                await cache.ask(old)
            index = await ours.settled(cache.index)
            return {"bytes": resident_bytes() - before, "index_bytes": index["bytes"], "right": judge.share}
    async with ours.exact(Model(), directory) as plain:
        for old in known:
            await plain(old)
        return {"bytes": resident_bytes() - before}


def main() -> None:
    mode, place, spawned = sys.argv[1:]
    directory = Path(place)
    questions = Questions.load(directory / _FILE)
    if mode == "start":
        found = asyncio.run(start(directory, questions, float(spawned)))
    else:
        found = asyncio.run(growth(directory, questions, tier=mode == "with"))
    print(orjson.dumps(found).decode())


if __name__ == "__main__":
    main()
