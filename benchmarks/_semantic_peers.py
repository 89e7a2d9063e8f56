"""GPTCache with a vector store and SQLite, used in its best reasonable way.

``top_k`` of 1 (with a temperature in the request it would take 5), no report written with each hit, room for
all entries (its default is 1,000), and filled through its own ``import_data``. Its hnswlib store hands ids to
SQLite as numpy integers, which are bound as blobs and match nothing: every look-up misses. To have its
figures at all, the ids are made plain integers here. faiss gets one thread: with more it is slower at 1,000
entries, and would still be spinning in the next variant's turn.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import orjson
from _harness import Open, Variant
from _semantic_workload import DIM, Rows, Table, entry_text, file_sizes
from _workload import Answer, Ask, Body, answer_document

_CHUNK: Final = 1_000  # entries imported in one transaction
BASES: Final = {"faiss": "faiss-cpu", "hnswlib": "hnswlib"}
"""Its vector store, and the package that needs."""


def gptcache(base: str, entries: Rows, table: Table, built: dict[str, Any]) -> Variant:
    """GPTCache holding ``entries``; what building took is left in ``built``."""
    name = f"GPTCache {base}" + (", patched" if base == "hnswlib" else "")
    opened = _opened(base, entries, table, lambda figures: built.update({name: figures}))
    return Variant(name, "aadapt, sqlite, top_k=1, search distance", opened, ("gptcache", BASES[base]))


def _opened(base: str, entries: Rows, table: Table, tell: Callable[[dict[str, Any]], None]) -> Open:
    @asynccontextmanager
    async def opened(upstream: Ask, directory: Path) -> AsyncIterator[Ask]:
        gptcache = import_module("gptcache")
        aadapt = import_module("gptcache.adapter.adapter").aadapt
        manager = _manager(base, len(entries), directory)
        began = time.perf_counter()
        _fill(manager, entries)
        manager.flush()  # writes the vectors to their file
        tell(
            {
                "seconds": time.perf_counter() - began,
                "files": file_sizes(directory),
            }
        )
        cache = gptcache.Cache()
        cache.init(
            embedding_func=lambda text, **_: table.row(text)[0],
            data_manager=manager,
            similarity_evaluation=import_module(
                "gptcache.similarity_evaluation.distance"
            ).SearchDistanceEvaluation(),
            post_func=import_module("gptcache.processor.post").first,
            config=gptcache.Config(disable_report=True),  # each would be one more commit
        )

        async def asked(**body: Any) -> Answer:
            return await upstream(body)

        def save(answer: Answer, *_: object, **__: object) -> Answer:
            return answer  # a miss is counted as one, and what is stored stays as it is

        async def ask(body: Body) -> Answer:
            answer: Answer = await aadapt(asked, orjson.loads, save, cache_obj=cache, top_k=1, **body)
            return answer

        yield ask
        cache.data_manager = ExitStack()  # at exit it closes the manager, which would write its files anew

    return opened


def _manager(base: str, entries: int, directory: Path) -> Any:
    package = import_module("gptcache.manager")
    options = {"max_elements": entries} if base == "hnswlib" else {}
    vectors = package.VectorBase(
        base, dimension=DIM, top_k=1, index_path=str(directory / f"{base}.index"), **options
    )
    if base == "faiss":
        import_module("faiss").omp_set_num_threads(1)
    else:
        search = vectors.search
        vectors.search = lambda data, top_k=-1: [(near, int(place)) for near, place in search(data, top_k)]
    scalars = package.CacheBase("sqlite", sql_url=f"sqlite:///{directory}/gptcache.db")
    return package.get_data_manager(scalars, vectors, max_size=10 * entries)


def _fill(manager: Any, entries: Rows) -> None:
    for first in range(0, len(entries), _CHUNK):
        places = range(first, min(first + _CHUNK, len(entries)))
        manager.import_data(
            [entry_text(place) for place in places],
            [orjson.dumps(answer_document(place)).decode() for place in places],
            list(entries[first : places.stop]),
            [None] * len(places),
        )
