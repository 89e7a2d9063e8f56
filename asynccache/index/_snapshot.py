"""Engines on disk, so that a large one need not be built again. A copy: any doubt, and it is not used.

A snapshot is a folder of files under a name never used before, and a manifest that names it and says what
is in each file. The manifest is written last and read first, so a snapshot is whole or is none; of several
processes that save, the last manifest counts. Nothing is handed to an engine before every byte of it was
checked: hnswlib writes onto a full disk without a word, and dies of a changed bit.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import file_digest, sha256
from pathlib import Path
from secrets import token_hex
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

if TYPE_CHECKING:
    from asynccache.index._room import Place
    from asynccache.index._staging import Memory

__all__ = ["Refused", "Snapshot", "Snapshots"]

FORMAT: Final = 1
STRAY: Final = 3600.0
"""Seconds after which a folder that no manifest names was left by a process that died, not by one at work."""
LARGEST_MANIFEST: Final = 2**20
"""Bytes; a real one has a few hundred for each part."""

_PREFIX: Final = "part"  # of the files within a snapshot's folder
_UNFINISHED: Final = ".new"


class Refused(Exception):
    """There is no snapshot that can be trusted."""


class Snapshot(NamedTuple):
    """What a manifest says, checked."""

    prefix: Path
    """The engine's files begin with this."""
    state: dict[str, Any]
    vectors: int
    cursor: int


class Snapshots:
    """The snapshots in a folder. Blocking: for a worker thread.

    Args:
        folder: made with mode 0700 when the first snapshot is saved.
    """

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder

    def find(self, place: Place, dim: int) -> Snapshot | None:
        """The snapshot of a place, every byte of it checked; None when none was saved.

        Raises:
            Refused: there is one, and it is not what was saved, or not for this place and dim.
        """
        manifest = self._manifest(place)
        try:
            with manifest.open("rb") as file:
                found = file.read(LARGEST_MANIFEST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Refused("unreadable manifest") from error
        try:
            return self._checked(found, place, dim)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(type(error).__name__) from error

    def _checked(self, found: bytes, place: Place, dim: int) -> Snapshot:
        document = orjson.loads(found)
        body = document["manifest"]
        if _checksum(body) != document["checksum"]:
            raise Refused("damaged manifest")
        if body["format"] != FORMAT:
            raise Refused("another format")
        if (body["partition"], body["space"], body["dim"]) != (place[0].hex(), place[1].hex(), dim):
            raise Refused("another place or dim")
        name = body["folder"]
        if not name.startswith(f"{_name(place)}-") or name != Path(name).name:
            raise Refused("foreign payload")
        folder = self._folder / name
        for part, said in body["parts"].items():
            if _measured(folder / part) != (said["size"], said["sha256"]):
                raise Refused("damaged payload")
        return Snapshot(folder / _PREFIX, body["state"], body["count"], body["cursor"])

    def begin(self, place: Place) -> Path:
        """The prefix under which an engine shall write its parts.

        Raises:
            OSError: the folder cannot be made.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f"{_name(place)}-{token_hex(8)}{_UNFINISHED}"
        draft.mkdir(mode=0o700)
        return draft / _PREFIX

    def publish(
        self,
        prefix: Path,
        place: Place,
        *,
        dim: int,
        state: dict[str, Any],
        count: int,
        cursor: int,
        staged: Mapping[str, Memory] = MappingProxyType({}),
    ) -> None:
        """Make what was written under a prefix the place's snapshot, with the parts that are in memory.

        Args:
            prefix: what ``begin`` gave.
            place: whose snapshot it is.
            dim: length of the vectors.
            state: what the engine gave; ``stored`` in it says how many vectors are in the files, if not
                ``count``.
            count: vectors held.
            cursor: changes up to here are in it.
            staged: parts in memory, by their suffix.

        Raises:
            OSError: it could not be written whole.
            TypeError, ValueError: the state is not JSON.
        """
        draft = prefix.parent
        for suffix, memory in staged.items():
            try:
                memory.copy_to(prefix.with_name(prefix.name + suffix))
            finally:
                memory.close()
        parts: dict[str, Any] = {}
        for path in sorted(draft.iterdir()):
            path.chmod(0o600)
            _sync(path)
            size, digest = _measured(path)
            parts[path.name] = {"size": size, "sha256": digest}
        # An engine may not have noticed that the disk was full. Vectors do not get smaller than this.
        if sum(part["size"] for part in parts.values()) < 4 * dim * state.get("stored", count):
            raise OSError("the snapshot was not written whole")
        _sync(draft)
        folder = draft.with_suffix("")
        body = {
            "format": FORMAT,
            "partition": place[0].hex(),
            "space": place[1].hex(),
            "dim": dim,
            "count": count,
            "cursor": cursor,
            "folder": folder.name,
            "parts": parts,
            "state": state,
        }
        written = orjson.dumps({"checksum": _checksum(body), "manifest": body}, option=orjson.OPT_INDENT_2)
        if len(written) > LARGEST_MANIFEST:
            raise ValueError("the engine's state is too large for a manifest")
        manifest = self._manifest(place)
        replaced = self._named(manifest)
        unfinished = draft.with_suffix(f".json{_UNFINISHED}")
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123  (it has the mode from its first moment)
                file.write(written)
            _sync(unfinished)
            draft.rename(folder)
            unfinished.rename(manifest)
            _sync(self._folder)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if replaced is not None and replaced != folder.name:
            shutil.rmtree(self._folder / replaced, ignore_errors=True)
        self._clean()

    @staticmethod
    def abandon(prefix: Path) -> None:
        """Remove what was written under a prefix and not published."""
        shutil.rmtree(prefix.parent, ignore_errors=True)

    def _manifest(self, place: Place) -> Path:
        return self._folder / f"{_name(place)}.json"

    @staticmethod
    def _named(manifest: Path) -> str | None:
        """The folder a manifest names, or None."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            name = orjson.loads(manifest.read_bytes())["manifest"]["folder"]
            if isinstance(name, str) and name.startswith(f"{manifest.stem}-") and name == Path(name).name:
                return name
        return None

    def _clean(self) -> None:
        """Remove what processes that died have left."""
        with suppress(OSError):
            named = {self._named(manifest) for manifest in self._folder.glob("*.json")}
            before = time.time() - STRAY  # by the file system's clock, not by one that a test moves
            for path in self._folder.iterdir():
                if path.suffix == ".json" or path.name in named or path.stat().st_mtime > before:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name.endswith(_UNFINISHED):
                    path.unlink(missing_ok=True)


def _name(place: Place) -> str:
    partition, space = place
    return sha256(len(partition).to_bytes(4, "big") + partition + space).hexdigest()[:32]


def _checksum(body: Any) -> str:
    return sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _measured(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
