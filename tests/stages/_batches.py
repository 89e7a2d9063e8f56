"""An upstream that embeds, and a pipeline that takes batches apart."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import anyio
import orjson

from asynccache import CachePipeline, Control, Outcome, Request
from asynccache._protocols import Backend, Stage
from asynccache.stages import ExactLookup, MissHandler, Normalize, SingleFlight, Validate, Write
from asynccache.stages.divided import Divided
from asynccache.upstreams import as_upstream

__all__ = ["EmbeddingServer", "batches", "expected", "request", "vectors"]


def vector(given: Any) -> list[float]:
    """A made-up embedding of an input: the same for the same input, another for others."""
    return [byte / 256 for byte in sha256(repr(given).encode()).digest()[:3]]


def document(inputs: list[Any]) -> dict[str, Any]:
    """What an uncached upstream answers."""
    tokens = sum(len(each) for each in inputs)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector(each)}
            for index, each in enumerate(inputs)
        ],
        "model": "e",
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def expected(inputs: list[Any]) -> list[list[float]]:
    return [vector(each) for each in inputs]


def vectors(outcome: Outcome) -> list[list[float]]:
    items = outcome.json()["data"]
    assert [item["index"] for item in items] == list(range(len(items)))
    return [item["embedding"] for item in items]


class EmbeddingServer:
    """An async callable that embeds, and remembers what it was asked for.

    Args:
        slow: seconds each call takes.
    """

    def __init__(self, slow: float = 0.0) -> None:
        self.calls: Final[list[list[Any]]] = []
        self.bodies: Final[list[Mapping[str, Any]]] = []
        self.failures: Final[list[Exception | dict[str, Any]]] = []
        """Used up in order: what calls raise, or answer, instead of embeddings."""
        self.in_flight = 0
        self._slow: Final = slow
        self._gate = anyio.Event()
        self._gate.set()
        self._arrival = anyio.Event()  # set by the next call, then replaced

    def hold(self) -> None:
        """Make every call from now on wait for ``release``."""
        self._gate = anyio.Event()

    def release(self) -> None:
        self._gate.set()

    async def called(self, times: int) -> None:
        while len(self.calls) < times:
            await self._arrival.wait()

    async def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        given = body["input"]
        inputs = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
        self.calls.append(inputs)
        self.bodies.append(body)
        arrived, self._arrival = self._arrival, anyio.Event()
        arrived.set()
        failure = self.failures.pop(0) if self.failures else None
        self.in_flight += 1
        try:
            await self._gate.wait()
            await anyio.sleep(self._slow)
        finally:
            self.in_flight -= 1
        if isinstance(failure, Exception):
            raise failure
        return document(inputs) if failure is None else failure

    @property
    def asked(self) -> list[Any]:
        """Every input it was asked for, in order."""
        return [each for call in self.calls for each in call]


def batches(upstream: Any, backend: Backend, *, first: Stage | None = None, **options: Any) -> CachePipeline:
    """The exact tier's standard chain, with ``Divided`` behind the normalizer; ``first`` goes before all."""
    normalize, asking, write = Normalize(), MissHandler(as_upstream(upstream)), Write(backend)
    flight = SingleFlight(asking, write, feed=backend)
    stages: list[Stage] = [
        normalize,
        Divided(backend, normalize=normalize, asking=asking, write=write),
        ExactLookup(backend),
        Validate(),
        flight,
        asking,
    ]
    if first is not None:
        stages.insert(0, first)
    return CachePipeline(stages=stages, backend=backend, **{"strict": True, **options})


def request(given: Any, *, control: Mapping[str, Any] | None = None, **fields: Any) -> Request:
    body = orjson.loads(orjson.dumps({"model": "e", "input": given, **fields}))
    return Request(dialect="embeddings", body=body, control=Control.of(control))
