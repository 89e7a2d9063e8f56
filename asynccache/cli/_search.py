"""``asynccache search``: which stored questions are nearest to one."""

from __future__ import annotations

import argparse
import heapq
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import orjson

from asynccache._clock import SystemClock
from asynccache._errors import AsyncCacheError
from asynccache._lifespan import entered
from asynccache._protocols import Embedder
from asynccache._space import space_of
from asynccache.cli._output import columns, duration, say
from asynccache.cli._store import named, open_existing, options_of, url_of
from asynccache.cli._vectors import Group, groups, pages, readable, usable
from asynccache.embedders import as_embedder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from asynccache._models import Entry
    from asynccache._protocols import Backend, Vectors

__all__ = ["run"]


class _Found(NamedTuple):
    similarity: float
    key: bytes


def run(given: argparse.Namespace) -> int:
    """Print the nearest stored questions of all partitions."""
    options = options_of(given)
    url = url_of(options)
    backend = open_existing(url)
    embedder = as_embedder(given.embedder or options.get("embedder", "default"))
    found = anyio.run(_search, backend, embedder, given.question, given.k, named(url))
    if given.json:
        say(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    elif found:
        say(columns(("cosine", "age", "model", "partition", "key", "question"), map(_words, found)))
    else:
        say("no live entry with a vector")
    return 0


async def _search(
    backend: Backend, embedder: Embedder, question: str, k: int, store: str
) -> list[dict[str, Any]]:
    async with entered(backend, embedder):
        vectors = readable(backend)
        query = (await embedder.embed([question]))[0]
        space = space_of(embedder)
        held = await groups(vectors)
        own = [group for group in held if group.space == space and group.dim == len(query)]
        if not own:
            others = ", ".join(sorted({group.space.hex()[:8] for group in held})) or "none"
            raise AsyncCacheError(
                f"{store} holds no question embedded by {embedder.name} (space {space.hex()[:8]}); "
                f"spaces it holds: {others}"
            )
        best = await _nearest(vectors, own, query, k)
        entries = await backend.get_many([found.key for found in best])
        now = SystemClock().now()
        return [
            _document(found, entry, now)
            for found, entry in zip(best, entries, strict=True)
            if entry is not None
        ]


async def _nearest(backend: Vectors, within: list[Group], query: NDArray[np.float32], k: int) -> list[_Found]:
    """The k nearest live ones, best first. Compares them all."""
    now = SystemClock().now()
    best: list[_Found] = []
    for group in within:
        async for page in pages(backend, *group.place):
            rows, vectors = usable([row for row in page if row.expires_at > now], group.dim)
            found = (
                _Found(float(similarity), row.key)
                for similarity, row in zip(vectors @ query, rows, strict=True)
            )
            best = heapq.nlargest(k, (*best, *found))
    return best


def _document(found: _Found, entry: Entry, now: float) -> dict[str, Any]:
    return {
        "cosine": found.similarity,
        "age_seconds": max(0.0, now - entry.created_at),
        "model": _model(entry),
        "alias": entry.alias is not None,
        "partition": entry.partition.hex()[:8],
        "key": entry.key.hex()[:8],
        "question": entry.question,
    }


def _model(entry: Entry) -> str | None:
    """What the answer says; a signpost to another answer says nothing."""
    try:
        document = orjson.loads(entry.response.body)
    except orjson.JSONDecodeError:
        return None
    model = document.get("model") if isinstance(document, dict) else None
    return model if isinstance(model, str) else None


def _words(found: dict[str, Any]) -> tuple[str, ...]:
    model = "(alias)" if found["alias"] else found["model"] or ""
    # On one line, and without what a terminal would obey.
    question = "".join(each if each.isprintable() else " " for each in found["question"] or "")
    return (
        f"{found['cosine']:.3f}",
        duration(found["age_seconds"]),
        model,
        found["partition"],
        found["key"],
        question,
    )
