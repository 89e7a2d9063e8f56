"""Which store a command is about, and whether there is one: looking must neither create nor damage."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from asynccache._config import load
from asynccache._errors import AsyncCacheError
from asynccache._protocols import Backend
from asynccache._registry import default_backend_url, open_backend
from asynccache._url import BackendURL

__all__ = ["NoStore", "file_of", "named", "open_existing", "options_of", "refuse_foreign", "url_of"]

_SQLITE_MARK: Final = b"SQLite format 3\0"  # how every SQLite file begins: https://sqlite.org/fileformat.html


class NoStore(AsyncCacheError):
    """There is no store to look into."""


def options_of(given: argparse.Namespace) -> dict[str, Any]:
    """The pipeline's options as configured."""
    return load(given.config, os.environ, {} if given.backend is None else {"backend": given.backend})


def url_of(options: Mapping[str, Any]) -> str:
    """The store's URL, for options that may name none."""
    return str(options.get("backend") or default_backend_url())


def open_existing(url: str) -> Backend:
    """The backend, not yet opened.

    Raises:
        NoStore: there is nothing, and opening it would make an empty one.
        ConfigurationError: the URL cannot work.
    """
    backend = open_backend(url)
    if url.startswith("memory:"):
        raise NoStore("memory:// lives inside the program that uses it: nothing can be seen of it from here")
    file = file_of(url)
    if file is not None:
        if not file.exists() or file.stat().st_size == 0:
            raise NoStore(f"there is no store yet: {file} does not exist")
        refuse_foreign(file)
    return backend


def refuse_foreign(file: Path) -> None:
    """Raise NoStore for a file that is no SQLite database: a backend would take it for a damaged store."""
    if file.is_file():
        with file.open("rb") as opened:
            mark = opened.read(len(_SQLITE_MARK))
        if mark not in {_SQLITE_MARK, b""}:
            raise NoStore(f"{file} is not a SQLite database; it was left as it is")


def file_of(url: str) -> Path | None:
    """The file of a ``sqlite://`` URL, absolute; None for any other."""
    parsed = BackendURL.parse(url)
    return Path(parsed.path.removeprefix("/")).expanduser().absolute() if parsed.scheme == "sqlite" else None


def named(url: str) -> str:
    """What to call a store in a sentence: its file, or its URL without credentials and options."""
    file = file_of(url)
    if file is not None:
        return str(file)
    parsed = BackendURL.parse(url)
    return f"{parsed.scheme}://{parsed.netloc.rpartition('@')[2]}{parsed.path}"
