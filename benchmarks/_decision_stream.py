"""A stream of questions with known answers: who is near whom, and what a policy makes of it."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from asynccache import TextRefused
from asynccache.embedders import FastEmbedEmbedder

NEAREST: Final = 16
DEPTH: Final = 128  # neighbours kept for each question, whether they will be stored or not
BLOCK: Final = 512


@dataclass(frozen=True)
class Stream:
    """Questions in the order they are asked."""

    prompts: list[str]
    classes: list[str]
    sources: list[str]
    vectors: NDArray[np.float32]
    """shape (n, dim); a row of zeros for a text the embedder refuses: it never hits and is never found."""
    same: frozenset[tuple[str, str]]
    """Pairs of prompts that have one answer although their classes differ."""
    space: bytes
    """The embedder's fingerprint."""
    near: NDArray[np.int32]
    """shape (n, DEPTH): earlier questions, nearest first; -1 where there are no more."""

    def __len__(self) -> int:
        return len(self.prompts)

    def right(self, asked: int, stored: int) -> bool:
        """Whether the stored question's answer is right for the one asked."""
        if self.classes[asked] == self.classes[stored]:
            return True
        return (self.prompts[asked], self.prompts[stored]) in self.same

    def part(self, kept: Sequence[int]) -> Stream:
        """Some of the questions, in the same order."""
        vectors = self.vectors[kept]
        return Stream(
            [self.prompts[at] for at in kept],
            [self.classes[at] for at in kept],
            [self.sources[at] for at in kept],
            vectors,
            self.same,
            self.space,
            nearest(vectors),
        )

    def candidates(
        self, asked: int, stored: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The nearest stored questions, at most NEAREST, and their cosines; nearest first."""
        vector = self.vectors[asked]
        if not vector.any():
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        row = self.near[asked]
        row = row[row >= 0]
        found = row[stored[row]][:NEAREST].astype(np.int64)
        if len(found) < NEAREST and len(row) == DEPTH:
            every = np.flatnonzero(stored[:asked])
            found = every[np.argsort(-(self.vectors[every] @ vector), kind="stable")[:NEAREST]]
        return found, self.vectors[found] @ vector


def read(path: Path, vectors: Path | None = None) -> Stream:
    """A stream and, beside it, ``adjudicated.jsonl`` if there is one.

    Args:
        path: JSON lines, gzip or not, of ``source``, ``prompt`` and ``cls``.
        vectors: where to keep the vectors for the next run.
    """
    rows = list(lines(path))
    prompts = [row["prompt"] for row in rows]
    beside = path.with_name("adjudicated.jsonl")
    judged = [row for row in lines(beside) if row["same"]] if beside.exists() else []
    same = frozenset(pair for row in judged for pair in ((row["a"], row["b"]), (row["b"], row["a"])))
    if vectors is not None and vectors.exists():
        with np.load(vectors, allow_pickle=False) as held:
            matrix, space = held["vectors"], bytes(held["space"])
    else:
        matrix, space = asyncio.run(embedded(prompts))
        if vectors is not None:
            np.savez(vectors, vectors=matrix, space=np.frombuffer(space, np.uint8))
    if len(matrix) != len(prompts):
        raise SystemExit(f"{vectors}: the vectors are of another stream; remove the file")
    return Stream(
        prompts, [r["cls"] for r in rows], [r["source"] for r in rows], matrix, same, space, nearest(matrix)
    )


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as held:
        for line in held:
            yield json.loads(line)


async def embedded(texts: Sequence[str], batch: int = 256) -> tuple[NDArray[np.float32], bytes]:
    """float32, shape (n, dim), zeros where the embedder refuses; and its fingerprint."""
    embedder = FastEmbedEmbedder()
    rows: list[NDArray[np.float32]] = []
    async with embedder.lifespan():
        for start in range(0, len(texts), batch):
            some = texts[start : start + batch]
            try:
                rows.append(await embedder.embed(some))
            except TextRefused:
                rows += [await _one(embedder, text) for text in some]
        return np.concatenate(rows), embedder.fingerprint


async def _one(embedder: FastEmbedEmbedder, text: str) -> NDArray[np.float32]:
    try:
        return await embedder.embed([text])
    except TextRefused:
        return np.zeros((1, embedder.dim), np.float32)


def nearest(vectors: NDArray[np.float32]) -> NDArray[np.int32]:
    """As Stream.near."""
    count = len(vectors)
    found = np.full((count, DEPTH), -1, np.int32)
    known: NDArray[np.bool_] = np.any(vectors, axis=1)
    for start in range(0, count, BLOCK):
        end = min(start + BLOCK, count)
        cosines = vectors[start:end] @ vectors[:end].T
        cosines[:, ~known[:end]] = -2
        cosines[np.arange(end) >= np.arange(start, end).reshape(-1, 1)] = -2
        kept = min(DEPTH, end)
        top = np.argpartition(-cosines, kept - 1, axis=1)[:, :kept]
        values = np.take_along_axis(cosines, top, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        top, values = np.take_along_axis(top, order, axis=1), np.take_along_axis(values, order, axis=1)
        found[start:end, :kept] = np.where(values > -2, top, -1)
    return found
