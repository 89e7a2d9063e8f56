"""What is asked of a semantic cache: questions near to its entries, their vectors, and a model behind it.

The vectors are made, not embedded: clusters of 50 about random centres, all of norm 1. A question lies
at a fixed cosine to the entry whose answer it should get, and much further from all others.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from _workload import Answer, Ask, Body, Upstream, answer_document, request_body
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

Rows: TypeAlias = NDArray[np.float32]

DIM: Final = 384
CLUSTER: Final = 50
WITHIN: Final = 0.7
"""Cosine of two entries of one cluster, about. Those of two clusters are nearly orthogonal."""
NEAR: Final = 0.965
"""Cosine of a question to its entry: a hit, but not beyond doubt, so that no alias is written."""
NEARER: Final = 0.99
"""The same for questions whose hits do write an alias."""
_REST: Final = " after the latest update." + " What does it mean, and what to do while under warranty?" * 3
_CHUNK: Final = 10_000  # rows made at a time, so that making many takes little memory beside them


def clustered(count: int, *, seed: int) -> Rows:
    """Vectors of entries, shape (count, DIM)."""
    random = np.random.default_rng(seed)
    rows = np.empty((count, DIM), dtype=np.float32)
    for first in range(0, count, _CHUNK):
        chunk = rows[first : first + _CHUNK]
        centres = _directions(random, -(-len(chunk) // CLUSTER)).repeat(CLUSTER, axis=0)[: len(chunk)]
        chunk[:] = _beside(random, centres, WITHIN**0.5)
    return rows


def _directions(random: np.random.Generator, count: int) -> Rows:
    made = random.standard_normal((count, DIM), dtype=np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def _beside(random: np.random.Generator, rows: Rows, cosine: float) -> Rows:
    """One vector at that very cosine to each."""
    aside = _directions(random, len(rows))
    aside -= np.einsum("ij,ij->i", aside, rows)[:, None] * rows
    aside *= (1 - cosine**2) ** 0.5 / np.linalg.norm(aside, axis=1, keepdims=True)
    aside += np.float32(cosine) * rows
    return aside


def entry_text(entry: int) -> str:
    return f"Error {entry:07d} again{_REST}"


def question_text(seed: int, number: int, entry: int) -> str:
    return f"Caller {seed}/{number}: error {entry:07d}{_REST}"


def body_of(text: str) -> Body:
    """A request as in the other benchmarks, but all of them alike except for the question."""
    body = request_body(0)
    del body["seed"]
    body["messages"][-1]["content"] = text
    return body


@dataclass(frozen=True)
class Questions:
    """New questions, each about one entry."""

    texts: list[str]
    entries: NDArray[np.int64]
    rows: Rows

    @classmethod
    def about(cls, entries: Rows, count: int, *, cosine: float, seed: int) -> Questions:
        """Questions about entries picked at random."""
        random = np.random.default_rng(seed)
        picked = random.integers(len(entries), size=count)
        texts = [question_text(seed, number, int(entry)) for number, entry in enumerate(picked)]
        rows = np.empty((count, DIM), dtype=np.float32)
        for first in range(0, count, _CHUNK):
            chunk = slice(first, first + _CHUNK)
            rows[chunk] = _beside(random, entries[picked[chunk]], cosine)
        return cls(texts, picked, rows)

    def bodies(self) -> Iterator[Body]:
        """Each once."""
        return map(body_of, self.texts)

    def part(self, first: int, last: int | None) -> Questions:
        """Some of them."""
        chosen = slice(first, last)
        return Questions(self.texts[chosen], self.entries[chosen], self.rows[chosen])

    def save(self, path: Path, count: int) -> None:
        """Write the first so many, for another process."""
        np.savez(
            path, texts=np.array(self.texts[:count]), entries=self.entries[:count], rows=self.rows[:count]
        )

    @classmethod
    def load(cls, path: Path) -> Questions:
        """What was written."""
        with np.load(path, allow_pickle=False) as found:
            return cls(found["texts"].tolist(), found["entries"], found["rows"])


class Table:
    """An embedder that looks its vectors up; embedding is not what is measured."""

    name: Final = "table"
    dim: Final = DIM
    fingerprint: Final = bytes(16)  # one space for all of them

    def __init__(self, *questions: Questions) -> None:
        self._rows: dict[str, Rows] = {}
        for each in questions:
            self._rows.update(zip(each.texts, each.rows[:, None], strict=True))  # each of shape (1, DIM)

    def row(self, text: str) -> Rows:
        """The vector of a text, shape (1, DIM)."""
        return self._rows[text]

    async def embed(self, texts: Sequence[str], /) -> Rows:
        if len(texts) == 1:
            return self._rows[texts[0]]
        return np.concatenate([self._rows[text] for text in texts])


class Model(Upstream):
    """Knows no answer that is any entry's: whoever asks it has missed."""

    def __init__(self) -> None:
        super().__init__([])

    async def __call__(self, _: Body) -> Answer:
        self.calls += 1
        return {**answer_document(0), "id": "chatcmpl-missed"}


class Judge:
    """Around a cache: counts its answers, and those that are the intended entry's."""

    def __init__(self, *questions: Questions) -> None:
        self._right = {
            text: answer_document(int(entry))["id"]
            for each in questions
            for text, entry in zip(each.texts, each.entries, strict=True)
        }
        self.asked = 0
        self.right = 0

    def around(self, ask: Ask) -> Ask:
        async def judged(body: Body) -> Answer:
            answer = await ask(body)
            self.asked += 1
            self.right += answer["id"] == self._right[body["messages"][-1]["content"]]
            return answer

        return judged

    @property
    def share(self) -> float:
        """Right answers among all; 0 when nothing was asked."""
        return self.right / self.asked if self.asked else 0.0


def resident_bytes() -> int:
    """Memory this process holds now; 0 where the system does not tell it in Linux's way."""
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def file_sizes(directory: Path) -> dict[str, int]:
    """Bytes of each file below a directory, by its name there."""
    return {
        str(path.relative_to(directory)): path.stat().st_size
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
