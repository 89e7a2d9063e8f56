"""``asynccache index``: what a semantic index over a store is made of, whether it is right, and made anew."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from asynccache._errors import ConfigurationError
from asynccache._lifespan import entered
from asynccache.cli._index_rebuild import LARGE, Progress, rebuild
from asynccache.cli._index_verify import verify
from asynccache.cli._output import columns, complain, duration, say, size, table
from asynccache.cli._snapshots import Damaged, Kept, kept
from asynccache.cli._store import named, open_existing, options_of, url_of
from asynccache.cli._vectors import Group, groups, readable

if TYPE_CHECKING:
    from asynccache._protocols import Backend, Vectors

__all__ = ["run"]


def run(given: argparse.Namespace) -> int:
    """Tell, check or rebuild. Fails when something is wrong with the index."""
    url = url_of(options_of(given))
    action = {"status": _status, "verify": _verify, "rebuild": _rebuild}[given.action]
    code: int = anyio.run(action, open_existing(url), named(url), given.json)
    return code


async def _status(backend: Backend, store: str, as_json: bool) -> int:  # noqa: FBT001  (anyio.run's way)
    async with entered(backend):
        vectors = readable(backend)
        folder = vectors.index_folder
        found = [await _described(vectors, folder, group) for group in await groups(vectors)]
    if as_json:
        document = {"store": store, "snapshots": None if folder is None else str(folder), "groups": found}
        say(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        return 0
    total = sum(each["vectors"] for each in found)
    say(
        table(
            {
                "store": store,
                "vectors": f"{total:,}",
                "snapshots": "nowhere" if folder is None else f"in {folder}",
            }
        )
    )
    if found:
        rows = (
            (each["partition"], each["space"], f"{each['vectors']:,}", _snapshot_words(each["snapshot"]))
            for each in found
        )
        say("\n" + columns(("partition", "space", "vectors", "snapshot"), rows))
    return 0


async def _described(backend: Vectors, folder: Path | None, group: Group) -> dict[str, Any]:
    found = kept(folder, group)
    snapshot: dict[str, Any] | None = None
    if isinstance(found, Damaged):
        snapshot = {"damaged": found.reason}
    elif found is not None:
        snapshot = {
            "vectors": found.snapshot.vectors,
            "bytes": found.size,
            "age_seconds": found.age,
            "behind": await _behind(backend, group, found),
        }
    return {
        **_named_group(group),
        "vectors": group.size,
        "snapshot": snapshot,
    }


def _named_group(group: Group) -> dict[str, str]:
    return {"partition": group.partition.hex()[:8], "space": group.space.hex()[:8]}


async def _behind(backend: Vectors, group: Group, snapshot: Kept) -> int | None:
    """How many changes of its vectors a snapshot has missed; None when the store does not know any more."""
    count, cursor, more = 0, snapshot.snapshot.cursor, True
    while more:
        page = await backend.vector_changes(cursor)
        if page.gap:
            return None
        count += sum((change.partition, change.space) == group.place for change in page.changes)
        cursor, more = page.cursor, page.more
    return count


def _snapshot_words(snapshot: dict[str, Any] | None) -> str:
    if snapshot is None:
        return "none"
    if "damaged" in snapshot:
        return f"not usable: {snapshot['damaged']}"
    behind = snapshot["behind"]
    words = (
        f"{snapshot['vectors']:,} vectors",
        size(snapshot["bytes"]),
        f"{duration(snapshot['age_seconds'])} old",
        "too old to be used" if behind is None else f"{behind:,} changes behind",
    )
    return ", ".join(words)


async def _verify(backend: Backend, store: str, as_json: bool) -> int:  # noqa: FBT001  (as above)
    document: list[dict[str, Any]] = []
    async with entered(backend):
        vectors = readable(backend)
        for group in await groups(vectors):
            verdict = await verify(vectors, vectors.index_folder, group)
            document.append({**_named_group(group), "summary": verdict.summary, "problems": verdict.problems})
            if not as_json:
                say(f"{group}  {verdict.summary}: {'wrong' if verdict.problems else 'right'}")
                for problem in verdict.problems:
                    complain(f"{group}: {problem}")
    wrong = any(each["problems"] for each in document)
    if as_json:
        say(orjson.dumps({"store": store, "groups": document}, option=orjson.OPT_INDENT_2).decode())
    elif not document:
        say(f"{store} holds no vectors")
    elif wrong:
        complain("asynccache index rebuild makes the snapshots anew")
    return 1 if wrong else 0


async def _rebuild(backend: Backend, store: str, as_json: bool) -> int:  # noqa: FBT001  (as above)
    del as_json  # not offered
    made = 0
    async with entered(backend):
        vectors = readable(backend)
        folder = vectors.index_folder
        if folder is None:
            raise ConfigurationError(f"{store} has no place for snapshots of an index")
        found = await groups(vectors)
        # A small group has a snapshot only if it was large once.
        due = [group for group in found if group.size > LARGE or kept(folder, group) is not None]
        for group in due:
            with Progress(str(group), group.size) as progress:
                count = await rebuild(vectors, folder, group, progress)
            made += 1
            say(f"{group}  {count:,} vectors")
    say(f"made {made:,} {'snapshot' if made == 1 else 'snapshots'} in {folder}")
    if len(found) > made:
        say(f"{len(found) - made:,} of {LARGE:,} vectors or fewer need none: they are read from the store")
    return 0
