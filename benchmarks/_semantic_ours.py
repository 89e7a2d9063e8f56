"""Ours with its semantic tier over SQLite: filling the store, the pipeline, and where its time goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
from _harness import Variant
from _semantic_workload import DIM, Judge, Model, Questions, Rows, Table, body_of, entry_text
from _workload import Answer, Ask, Body, answer_document

from asynccache import CachePipeline, Embedding, Entry, Request, Response
from asynccache._chain import Semantic, standard
from asynccache._deciders import Deciding
from asynccache._keys import Fingerprint
from asynccache.backends import SqliteBackend
from asynccache.embedders import as_embedder
from asynccache.stages import Normalize, Threshold
from asynccache.stages._deciding import as_decision
from asynccache.upstreams import as_upstream

if TYPE_CHECKING:
    from asynccache.index import BackendIndex

NAME: Final = "asynccache sqlite"
FILE: Final = "cache.db"
_CANDIDATES: Final = 3  # what the pipeline asks of its index
_EF: Final = 64  # what a graph of ours begins with
_BATCH: Final = 500  # puts on their way at a time
_ROOM: Final = 2**36  # bytes, so that no entry gives way
_INDEX_ROOM: Final = 2**33  # bytes, so that no vector does; the default holds some 900,000 of these
_PATIENCE: Final = 120.0  # seconds for a partition to be read
_AGAIN: Final = 0.01  # seconds between two tries
IDLE: Final = 0.6
"""Seconds without work after which an index counts as settled."""
_LOOK: Final = 0.2  # seconds between two looks at whether there was any


@dataclass(frozen=True)
class Cache:
    """An open pipeline, and what stands behind it."""

    ask: Ask
    backend: SqliteBackend
    index: BackendIndex


async def fill(directory: Path, entries: Rows) -> float:
    """Store entries through the backend, as a pipeline would have stored them; the seconds it took."""
    backend = _backend(directory)
    began = time.perf_counter()
    async with backend.lifespan():
        for first in range(0, len(entries), _BATCH):
            rows = enumerate(entries[first : first + _BATCH], first)
            made = [_entry(number, row.tobytes()) for number, row in rows]
            await asyncio.gather(*map(backend.put, made))
    return time.perf_counter() - began


def _backend(directory: Path) -> SqliteBackend:
    return SqliteBackend(directory / FILE, max_bytes=_ROOM)


def identity_of(text: str) -> Fingerprint:
    """What a pipeline makes of the request that asks this. Nothing is kept: it would count as memory."""
    return Normalize().keyring.fingerprint(Request(body=body_of(text)))


def _entry(number: int, vector: bytes) -> Entry:
    text = entry_text(number)
    identity = identity_of(text)
    return Entry(
        key=identity.key,
        partition=identity.partition,
        dialect="chat.completions",
        response=Response(orjson.dumps(answer_document(number))),
        created_at=time.time(),
        question=text,
        embedding=Embedding(Table.fingerprint, vector),
    )


@asynccontextmanager
async def exact(upstream: Ask, directory: Path) -> AsyncIterator[Ask]:
    """The pipeline over a store that was filled, without its semantic tier."""
    async with CachePipeline(
        upstream=upstream, backend=_backend(directory), decision=None, ttl=0, strict=True
    ) as cache:
        yield _asking(cache)


@asynccontextmanager
async def semantic(
    upstream: Ask, directory: Path, table: Table, *, strict: bool = True
) -> AsyncIterator[Cache]:
    """The pipeline over a store that was filled, with its semantic tier.

    It is put together as ``CachePipeline(decision="threshold")`` does it, so as to have the index at hand.
    What is asked of the upstream is not stored (``ttl=0``): a miss stays a miss. With ``strict``,
    a failure of the cache ends the run; without, it is a miss as well.
    """
    from asynccache.index import BackendIndex

    backend = _backend(directory)
    index = BackendIndex(backend, max_bytes=_INDEX_ROOM)
    deciding = Deciding(as_decision(Threshold()), judge=None, aliases=True)
    tier = Semantic(as_embedder(table), index, deciding, audit=0.0, audits_per_minute=1)
    chain = standard(as_upstream(upstream), backend, normalize=Normalize(), abandoned="close", semantic=tier)
    async with CachePipeline(stages=chain.stages, backend=backend, ttl=0, strict=strict) as cache:
        yield Cache(_asking(cache), backend, index)


def _asking(cache: CachePipeline) -> Ask:
    """The whole call, from the request body to the parsed answer."""

    async def ask(body: Body) -> Answer:
        document: Answer = (await cache.chat(**body)).json()
        return document

    return ask


async def first_hit(ask: Ask, asked: Questions, body: Body) -> float:
    """Ask a question until it is answered rightly, which it is when its partition was read; the seconds.

    Raises:
        TimeoutError: it never was.
    """
    judge = Judge(asked)
    began = time.perf_counter()
    await judge.around(ask)(body)
    while not judge.right:
        if time.perf_counter() - began > _PATIENCE:
            raise TimeoutError("no semantic hit")
        await asyncio.sleep(_AGAIN)
        await judge.around(ask)(body)
    return time.perf_counter() - began


async def settled(index: BackendIndex) -> Mapping[str, int]:
    """Wait until the index has done all its work: until this process idles. What it says of itself then."""
    idle = 0.0
    while idle < IDLE:
        busy = time.process_time()
        await asyncio.sleep(_LOOK)
        idle = idle + _LOOK if time.process_time() - busy < _LOOK / 5 else 0.0
    return await index.measure()


def sqlite(directory: Path, entries: Rows, asked: Questions, table: Table, built: dict[str, Any]) -> Variant:
    """Ours holding ``entries``: the store stays in ``directory``, what building took is left in ``built``.

    The first of the questions is asked, to have the partition read.
    """

    @asynccontextmanager
    async def filled(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
        began = time.perf_counter()
        stored = await fill(directory, entries)
        async with semantic(upstream, directory, table) as cache:
            await first_hit(cache.ask, asked, next(asked.bodies()))
            index = await settled(cache.index)
            built[NAME] = {
                "seconds": time.perf_counter() - began - IDLE,
                "seconds_storing": stored,
                "index": index,
            }
            yield cache.ask

    return Variant(NAME, "decision='threshold', a backend without memory in front", filled)


async def parts(directory: Path, entries: Rows, questions: Questions, table: Table) -> dict[str, float]:
    """Microseconds (medians) of a semantic hit and of the things it is made of.

    Call it when nobody has the store open. The questions must be new, and ``table`` must know them.
    """
    misses = list(map(identity_of, questions.texts))
    hits = [identity_of(entry_text(int(each))) for each in questions.entries]
    vectors = [Embedding(Table.fingerprint, row.tobytes()) for row in questions.rows]
    partition = misses[0].partition
    found = {"a search, on the loop": _searching(directory, entries, questions.rows)}
    with ThreadPoolExecutor(1) as thread:
        hop = partial(asyncio.get_running_loop().run_in_executor, thread)
        found["a hop to a thread"] = await _waiting(hop, [int] * len(hits))
    async with semantic(Model(), directory, table) as cache:
        await first_hit(cache.ask, questions, next(questions.bodies()))
        await settled(cache.index)
        nearest = partial(cache.index.nearest, partition, k=_CANDIDATES)
        found["the exact look-up, which misses"] = await _waiting(
            cache.backend.get, [each.key for each in misses]
        )
        found["the index: hop and search"] = await _waiting(nearest, vectors)
        found["reading the entry"] = await _waiting(cache.backend.get_many, [[each.key] for each in hits])
        found["the whole hit"] = await _waiting(cache.ask, list(questions.bodies()))
    return found


async def _waiting(call: Callable[[Any], Awaitable[object]], arguments: Sequence[Any]) -> float:
    taken = []
    for each in arguments:
        began = time.perf_counter()
        await call(each)
        taken.append(time.perf_counter() - began)
    return round(median(taken) * 1e6, 2)


def _searching(directory: Path, entries: Rows, queries: Rows) -> float:
    """The library alone: the graph that was saved, or one product with all vectors where there is none."""
    graphs = list(directory.rglob("*.graph"))
    if graphs:
        import hnswlib

        graph = hnswlib.Index("ip", DIM)
        graph.load_index(str(graphs[0]))
        graph.set_ef(_EF)

        def search(query: Rows) -> object:
            return graph.knn_query(query, k=_CANDIDATES, num_threads=1)
    else:

        def search(query: Rows) -> object:
            return np.argpartition(entries @ query, -_CANDIDATES)

    taken = []
    for query in queries:
        began = time.perf_counter()
        search(query)
        taken.append(time.perf_counter() - began)
    return round(median(taken) * 1e6, 2)
