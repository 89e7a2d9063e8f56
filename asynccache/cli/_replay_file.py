"""Reads what is to be replayed, all of it before anything runs."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import orjson

from asynccache._errors import ConfigurationError
from asynccache.cli._replay_forms import FORMS, BadLine, form_of, question_of

if TYPE_CHECKING:
    from asynccache._keys import Keyring
    from asynccache.cli._replay_forms import Form, Recorded

__all__ = ["Recording", "read_recording", "read_same"]

_GZIP: Final = b"\x1f\x8b"  # RFC 1952, 2.3.1


class Recording(NamedTuple):
    """The requests of a file, in their order."""

    requests: list[Recorded]
    labelled: bool
    """Whether its answers are labels."""
    skipped: int
    """Lines left out as bad."""


def read_recording(path: str, keyring: Keyring, *, limit: int | None, skip_bad: bool) -> Recording:
    """The requests of a file of JSON lines, gzip or not.

    Args:
        path: ``-`` reads standard input.
        keyring: finds the questions.
        limit: requests after which reading ends; None reads all.
        skip_bad: True leaves out lines that are not of the form of the first good one.

    Raises:
        ConfigurationError: a line is not of that form, naming line and field; or there is none.
        OSError: it cannot be read.
    """
    form: Form | None = None
    requests: list[Recorded] = []
    skipped = 0
    for number, raw in _lines(path):
        try:
            line = _document(raw)
            if form is None:
                form = _known_form(line)
            requests.append(form.recorded(line, keyring))
        except BadLine as error:
            if not skip_bad:
                raise ConfigurationError(f"{_named(path)}, line {number}: {error}") from None
            skipped += 1
        if len(requests) == limit:
            break
    if form is None or not requests:
        raise ConfigurationError(f"{_named(path)}: holds no request" + (", but bad lines" if skipped else ""))
    return Recording(requests, form.labelled, skipped)


def read_same(path: str, keyring: Keyring) -> list[tuple[str, str]]:
    """Pairs of questions that have the same answer although their labels differ.

    Args:
        path: ``-`` reads standard input.
        keyring: makes questions of prompts.

    Raises:
        ConfigurationError: a line is not ``{"a", "b", "same"}``, naming line and field.
        OSError: it cannot be read.
    """
    pairs: list[tuple[str, str]] = []
    for number, raw in _lines(path):
        try:
            line = _document(raw)
            for name, kind, told in (("a", str, "text"), ("b", str, "text"), ("same", bool, "true or false")):
                if not isinstance(line.get(name), kind):
                    raise BadLine(f"{name}: expected {told}")
        except BadLine as error:
            raise ConfigurationError(f"{_named(path)}, line {number}: {error}") from None
        if line["same"]:
            one, other = (question_of(line[name], keyring) for name in ("a", "b"))
            pairs.append((one, other))
    return pairs


def _known_form(line: Mapping[str, Any]) -> Form:
    form = form_of(line)
    if form is not None:
        return form
    for known in FORMS:
        for name, other in (known.fields, known.fields[::-1]):
            if name in line and other not in {"question", "messages"}:
                raise BadLine(f"{other}: is not there, though {name} is")
    forms = ", ".join(f"{one} and {other}" for one, other in (form.fields for form in FORMS))
    raise BadLine(f"of no known form; expected the fields {forms}")


def _document(raw: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:  # its words may quote the line
        found = None
    if not isinstance(found, dict):
        raise BadLine("not a JSON object")
    return found


def _lines(path: str) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and bytes of every line that is not blank."""
    with _opened(path) as file:
        try:
            for number, raw in enumerate(file, 1):
                if raw.strip():
                    yield number, raw
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise ConfigurationError(f"{_named(path)}: a damaged gzip file") from None


@contextmanager
def _opened(path: str) -> Iterator[Iterable[bytes]]:
    if path == "-":
        with _unpacked(sys.stdin.buffer) as file:  # it is not ours to close
            yield file
    else:
        with Path(path).open("rb") as opened, _unpacked(opened) as file:
            yield file


@contextmanager
def _unpacked(file: BinaryIO) -> Iterator[Iterable[bytes]]:
    peek = getattr(file, "peek", None)  # standard input has one unless somebody has put another in its place
    if peek is not None and peek(len(_GZIP))[: len(_GZIP)] == _GZIP:
        with gzip.open(file) as unpacked:
            yield unpacked
    else:
        yield file


def _named(path: str) -> str:
    return "standard input" if path == "-" else path
