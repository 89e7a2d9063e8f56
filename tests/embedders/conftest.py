"""A model that makes vectors up, waits when told to, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeAlias

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import numpy as np
import pytest

from asynccache.embedders._engine import Facts, ModelMissing
from asynccache.embedders._threaded import ThreadedEmbedder
from asynccache.testing import FakeClock

DIM = 8

FACTS = Facts(name="fake", digest="00", dim=DIM, pooling="mean", window=100)

Script: TypeAlias = "Callable[[Sequence[str]], Any]"


def vector(text: str) -> Any:
    """Any norm; the same for the same text."""
    return np.frombuffer(sha256(text.encode()).digest()[: DIM * 4], dtype="<u4").astype(np.float64) + 1.0


@dataclass
class FakeModel:
    """Embeds as told; each call waits for the gate."""

    facts: Facts = FACTS
    gate: threading.Event = field(default_factory=threading.Event)
    batches: list[list[str]] = field(default_factory=list)
    script: Script | None = None

    def refusals(self, texts: Sequence[str]) -> list[str | None]:
        return [self.facts.too_long if len(text) > 100 else None for text in texts]

    def embed(self, texts: Sequence[str]) -> Any:
        self.batches.append(list(texts))
        assert self.gate.wait(30)
        return [vector(text) for text in texts] if self.script is None else self.script(texts)


@dataclass
class FakeEngine:
    """Loads the model, or fails as told."""

    model: FakeModel = field(default_factory=FakeModel)
    here: threading.Event = field(default_factory=threading.Event)
    loading: threading.Event = field(default_factory=threading.Event)
    fetching: threading.Event = field(default_factory=threading.Event)
    load_error: BaseException | None = None
    download_error: BaseException | None = None
    loads: int = 0
    downloads: int = 0

    def __post_init__(self) -> None:
        self.model.gate.set()
        for event in (self.here, self.loading, self.fetching):
            event.set()

    def load(self) -> FakeModel:
        self.loads += 1
        here = self.here.is_set()
        assert self.loading.wait(30)
        if self.load_error is not None:
            raise self.load_error
        if not here:
            raise ModelMissing("model 'fake' is not here")
        return self.model

    def download(self) -> None:
        self.downloads += 1
        assert self.fetching.wait(30)
        if self.download_error is not None:
            raise self.download_error
        self.here.set()


class Lab:
    """A fake engine and an embedder on it."""

    vector = staticmethod(vector)

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.model = self.engine.model
        self.clock = FakeClock()

    def embedder(self, **options: Any) -> ThreadedEmbedder:
        given = {"name": "fake", "max_batch": 8, "queue": 1024, "memo": 100, "clock": self.clock, **options}
        return ThreadedEmbedder(self.engine, **given)

    @asynccontextmanager
    async def open(self, **options: Any) -> AsyncIterator[ThreadedEmbedder]:
        embedder = self.embedder(**options)
        async with embedder.lifespan():
            try:
                yield embedder
            finally:
                for event in (self.model.gate, self.engine.loading, self.engine.fetching):
                    event.set()

    @asynccontextmanager
    async def busy(self, **options: Any) -> AsyncIterator[ThreadedEmbedder]:
        """An embedder whose thread holds a batch of one text, ``"first"``, until the gate is opened."""
        async with self.open(**options) as embedder:
            await embedder.ready()
            self.model.gate.clear()
            async with anyio.create_task_group() as group:
                group.start_soon(embedder.embed, ["first"])
                await self.until(lambda: len(self.model.batches) == 1)
                yield embedder
                self.model.gate.set()

    @staticmethod
    async def until(condition: Callable[[], bool]) -> None:
        with anyio.fail_after(10):
            while not condition():  # noqa: ASYNC110  (what is waited for happens in threads)
                await anyio.sleep(0.001)

    @staticmethod
    async def turns(count: int = 5) -> None:
        """Let every task that can go on do so."""
        for _ in range(count):
            await anyio.lowlevel.checkpoint()

    @staticmethod
    async def failure(work: Awaitable[object]) -> Exception:
        try:
            await work
        except Exception as error:  # noqa: BLE001  (the caller looks at it)
            return error
        raise AssertionError("it did not fail")


@asynccontextmanager
async def _every_thread() -> AsyncIterator[Any]:
    def ask(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        anyio.from_thread.run(work)

    async def from_threads(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for _ in range(2):
                    group.start_soon(anyio.to_thread.run_sync, ask, work)

    limiter = anyio.to_thread.current_default_thread_limiter()
    before, limiter.total_tokens = limiter.total_tokens, 2
    try:
        yield from_threads
    finally:
        limiter.total_tokens = before


@pytest.fixture
def every_thread() -> Any:
    """Opens into a function that calls an async one from all threads that anyio gives a program."""
    return _every_thread


@pytest.fixture
def lab() -> Lab:
    return Lab()
