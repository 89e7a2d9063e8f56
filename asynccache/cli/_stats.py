"""``asynccache stats``: what a store holds."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import anyio
import orjson

from asynccache._clock import SystemClock
from asynccache._lifespan import entered
from asynccache._protocols import Backend, Measurable
from asynccache.cli._output import duration, say, size, table
from asynccache.cli._store import named, open_existing, options_of, url_of

__all__ = ["run"]


def run(given: argparse.Namespace) -> int:
    """Print what the store holds."""
    url = url_of(options_of(given))
    figures = {"store": named(url), **anyio.run(_measured, open_existing(url))}
    say(orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode() if given.json else table(_words(figures)))
    return 0


async def _measured(backend: Backend) -> dict[str, Any]:
    now = SystemClock().now()
    ages: list[float] = []
    dialects: Counter[str] = Counter()
    tags: Counter[str] = Counter()
    tokens = 0
    seconds = 0.0
    aliases = vectors = 0
    async with entered(backend):
        measured = await backend.measure() if isinstance(backend, Measurable) else {}
        async for entry in backend.scan():
            ages.append(max(0.0, now - entry.created_at))
            dialects[entry.dialect] += 1
            tags.update(entry.tags)
            aliases += entry.alias is not None
            vectors += entry.embedding is not None
            tokens += entry.cost.prompt_tokens + entry.cost.completion_tokens
            seconds += entry.cost.seconds
    return {
        "entries": len(ages),
        # The other counters of a backend are about its own process, which has only just begun.
        **{name: measured[name] for name in ("bytes", "file_bytes") if name in measured},
        "aliases": aliases,
        "vectors": vectors,
        "oldest_seconds": max(ages, default=None),
        "newest_seconds": min(ages, default=None),
        "tokens": tokens,
        "upstream_seconds": seconds,
        "dialects": dict(dialects.most_common()),
        "tags": dict(tags.most_common()),
    }


def _words(figures: dict[str, Any]) -> dict[str, str]:
    rows = {"store": figures["store"], "entries": f"{figures['entries']:,}"}
    sizes = [f"{size(figures['bytes'])} of entries"] if "bytes" in figures else []
    sizes += [f"{size(figures['file_bytes'])} on disk"] if "file_bytes" in figures else []
    if sizes:
        rows["size"] = ", ".join(sizes)
    if figures["entries"]:
        if figures["vectors"]:
            rows["semantic"] = (
                f"{figures['vectors']:,} vectors; {figures['aliases']:,} of the entries are aliases, which "
                "lead to the answer of another"
            )
        rows["oldest"] = f"{duration(figures['oldest_seconds'])} ago"
        rows["newest"] = f"{duration(figures['newest_seconds'])} ago"
        rows["made in"] = (
            f"{duration(figures['upstream_seconds'])} of upstream time, {figures['tokens']:,} tokens"
        )
        for name in ("dialects", "tags"):
            if figures[name]:
                rows[name] = ", ".join(f"{key} {count:,}" for key, count in list(figures[name].items())[:8])
    return rows
