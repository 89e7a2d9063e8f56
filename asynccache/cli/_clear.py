"""``asynccache clear``: remove what a store holds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import anyio

from asynccache._errors import ConfigurationError
from asynccache._lifespan import entered
from asynccache._protocols import Backend, Clearable, Taggable
from asynccache.cli._output import complain, say
from asynccache.cli._store import named, open_existing, options_of, url_of

__all__ = ["run"]


def run(given: argparse.Namespace) -> int:
    """Ask, unless told not to, and remove."""
    url = url_of(options_of(given))
    backend = open_existing(url)
    what = f"every entry tagged {' or '.join(map(repr, given.tag))}" if given.tag else "every entry"
    if not given.yes:
        if not sys.stdin.isatty():
            complain("nobody can be asked whether to remove entries: say --yes")
            return 2
        if not _confirmed(f"Remove {what} from {named(url)}? [y/N] "):
            complain("nothing was removed")
            return 1
    removed = anyio.run(_remove, backend, given.tag)
    say(f"removed {removed:,} {'entry' if removed == 1 else 'entries'} from {named(url)}")
    if removed:
        say("programs that have it open may serve from their memory for up to memory_ttl (60 s) more")
    return 0


def _confirmed(question: str) -> bool:
    try:
        return input(question).strip().lower() in {"y", "yes"}
    except EOFError:
        return False


async def _remove(backend: Backend, tags: Sequence[str]) -> int:
    async with entered(backend):
        if tags and isinstance(backend, Taggable):
            return await backend.delete_tagged(tags)
        if not tags and isinstance(backend, Clearable):
            return await backend.clear()
    how = "by tag" if tags else "all at once"
    raise ConfigurationError(f"the {type(backend).__name__} cannot remove entries {how}")
