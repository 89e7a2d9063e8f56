"""The texts of the embedding benchmark, and the ways to embed them."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # ships no types
from fastembed import TextEmbedding
from numpy.typing import NDArray
from tokenizers import Tokenizer

import asynccache
from asynccache.embedders import FastEmbedEmbedder

Vector: TypeAlias = NDArray[Any]
Embed: TypeAlias = Callable[[str], Awaitable[Vector]]

MODEL: Final = Path(asynccache.__file__).parent / "embedders" / "models" / "all-MiniLM-L6-v2"
NAIVE_BATCH: Final = 16

# Each is one token, so that a text's length is known; most questions are made of such words.
WORDS: Final = """
account address answer book bread bridge car card change city clock cold cost country day delivery door
early email evening family find fish flight food form friend garden give green hand heat help high home
hotel hour house idea island job keep key kind kitchen lake language late law letter life light line list
long lost make map market meaning message money month morning music name need new night north number
office old open order paper park part pay people phone place plan price problem question rain read reason
red report rest river road room sale school sea season send service ship shop short side sign snow song
south star start station stop store story street summer sun table tax team test ticket time town train
travel tree water way week west wind window winter word work world year young zone
"""


class Texts:
    """Texts of known lengths, none of them given twice."""

    def __init__(self) -> None:
        self._random: Final = random.Random(20)
        self._words: Final = WORDS.split()
        self._given: Final[set[str]] = set()

    def next(self, tokens: int) -> str:
        while (text := " ".join(self._random.choices(self._words, k=tokens - 2))) in self._given:
            pass
        self._given.add(text)
        return text


def loaded() -> TextEmbedding:
    name = "sentence-transformers/all-MiniLM-L6-v2"
    return TextEmbedding(name, specific_model_path=str(MODEL), threads=1)


@asynccontextmanager
async def ours() -> AsyncIterator[Embed]:
    embedder = FastEmbedEmbedder()
    async with embedder.lifespan():

        async def embed(text: str) -> Vector:
            vector: Vector = (await embedder.embed([text]))[0]
            return vector

        yield embed


@asynccontextmanager
async def one_worker() -> AsyncIterator[Embed]:
    model = loaded()
    run = asyncio.get_running_loop().run_in_executor
    with ThreadPoolExecutor(1) as thread:

        async def embed(text: str) -> Vector:
            return await run(thread, _embedded, model, text)

        yield embed


@asynccontextmanager
async def thread_per_call() -> AsyncIterator[Embed]:
    model = loaded()

    async def embed(text: str) -> Vector:
        return await asyncio.to_thread(_embedded, model, text)

    yield embed


@asynccontextmanager
async def inline() -> AsyncIterator[Embed]:
    model = loaded()

    async def embed(text: str) -> Vector:
        await asyncio.sleep(0)  # without it no other caller would ever run
        return _embedded(model, text)

    yield embed


@asynccontextmanager
async def naive_batches() -> AsyncIterator[Embed]:
    """Whatever waits when the thread is free is a batch, short and long alike."""
    model = loaded()
    waiting: deque[tuple[str, asyncio.Future[Vector]]] = deque()
    some = asyncio.Event()

    async def work() -> None:
        while await some.wait():
            batch = [waiting.popleft() for _ in range(min(NAIVE_BATCH, len(waiting)))]
            if not waiting:
                some.clear()
            vectors = await asyncio.to_thread(
                lambda texts: list(model.embed(texts)), [text for text, _ in batch]
            )
            for (_, future), vector in zip(batch, vectors, strict=True):
                future.set_result(vector)

    async def embed(text: str) -> Vector:
        future: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()
        waiting.append((text, future))
        some.set()
        return await future

    worker = asyncio.ensure_future(work())
    try:
        yield embed
    finally:
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker


@asynccontextmanager
async def bare() -> AsyncIterator[Embed]:
    """Nothing that could be left out: tokens, the model, their mean, its norm; on the loop."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(
        str(MODEL / "model.onnx"), settings, providers=["CPUExecutionProvider"]
    )
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)

    async def embed(text: str) -> Vector:
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        state = session.run(None, given)[0]
        mean = state[0].mean(axis=0)
        vector: Vector = mean / np.linalg.norm(mean)
        return vector

    yield embed


def _embedded(model: TextEmbedding, text: str) -> Vector:
    (vector,) = model.embed([text])
    return vector
