"""One lifespan of an embedder with a thread: its queue, and what is known about the model.

Loading, embedding and letting go happen in the thread; all decisions are made on the loop, which hears of
each batch in one callback.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from asynccache._errors import EmbedderError, EmbedderUnavailable
from asynccache.embedders._batches import alike
from asynccache.embedders._engine import Engine, Facts, Model, ModelMissing, outcomes_of
from asynccache.embedders._memo import Memo
from asynccache.embedders._queue import Batch, Queue
from asynccache.embedders._rows import unavailable

if TYPE_CHECKING:
    from asynccache._protocols import Clock

__all__ = ["Session"]

_RETRY_SECONDS: Final = 30.0
"""A model that could not be loaded is not tried again for so long: a failed load takes seconds at worst."""

_CLOSING_SECONDS: Final = 5.0
"""How long the end waits for a batch that is being computed. A longer one ends by itself, unheard."""


class Session:
    """Opened by making one and calling ``load``; ``close`` ends it.

    Args:
        engine: where the model comes from.
        learned: told about a model that has been loaded.
        max_batch: texts computed together.
        room: texts queued or being computed at once.
        memo: vectors of earlier texts.
        download_timeout: seconds for fetching a missing model; None does not fetch it.
        clock: tells when a failed load is tried again.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        learned: Callable[[Facts], None],
        max_batch: int,
        room: int,
        memo: Memo,
        download_timeout: float | None,
        clock: Clock,
    ) -> None:
        self._engine: Final = engine
        self._learned: Final = learned
        self._download_timeout: Final = download_timeout
        self._clock: Final = clock
        # Joined when the interpreter ends: never killed inside the model's own code, as a daemon would be.
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="asynccache-embedder")
        self.loop: Final = asyncio.get_running_loop()
        self.queue: Final = Queue(
            self._begin, choose=partial(alike, most=max_batch), lanes=1, room=room, memo=memo
        )
        # Changed on the loop only:
        self.decided = anyio.Event()  # set when the model is loaded or cannot be; a new one for each try
        self._retry_at: float | None = None  # after a failure
        self._download: threading.Thread | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._closed = False
        self._tries = 0  # loads begun
        self._downloaded = False  # whether the last of them was begun by a download
        # Changed in the thread only:
        self._model: Model | None = None

    def load(self, *, downloaded: bool = False) -> None:
        """Begin to load."""
        self._retry_at = None
        if self.decided.is_set():
            self.decided = anyio.Event()
        self.queue.hold()
        self._downloaded = downloaded
        self._tries += 1
        self._thread.submit(self._load, self._tries)

    def load_if_due(self) -> None:
        """Try again, if the last failure is long enough ago."""
        if self._retry_at is not None and self._clock.monotonic() >= self._retry_at:
            self.load()

    async def close(self) -> None:
        """Refuse what waits, and wait for the thread, but not for ever."""
        self._closed = True
        self._stop_clock()
        self.queue.refuse(EmbedderUnavailable("the embedder was closed"))
        self.decided.set()
        ended = asyncio.Event()
        self._thread.submit(self._end, ended)
        self._thread.shutdown(wait=False)
        with anyio.move_on_after(_CLOSING_SECONDS):
            await ended.wait()

    # In the thread:

    def _load(self, number: int) -> None:
        try:
            self._model = self._engine.load()
            outcome: Facts | EmbedderError = self._model.facts
        except BaseException as error:  # noqa: BLE001  (a border; a panic in Rust is no Exception)
            outcome = unavailable(error)
        self._tell(self._loaded, outcome, number)

    def _work(self, batch: Batch) -> None:
        texts = [flight.text for flight in batch]
        if self._model is not None:
            self._tell(self.queue.settle, batch, outcomes_of(self._model, texts))

    def _end(self, ended: asyncio.Event) -> None:
        self._model = None
        self._tell(ended.set)

    def _tell(self, function: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop was closed; nobody waits any more
            self.loop.call_soon_threadsafe(function, *arguments)

    # In the download's thread, which nobody can stop: a daemon, so that a program can end all the same.

    def _fetch(self) -> None:
        try:
            self._engine.download()
            error: EmbedderError | None = None
        except BaseException as raised:  # noqa: BLE001  (a border)
            error = unavailable(raised)
        self._tell(self._fetched, error)

    # On the loop:

    def _begin(self, batch: Batch) -> None:
        self._thread.submit(self._work, batch)

    def _loaded(self, outcome: Facts | EmbedderError, number: int) -> None:
        if self._closed or number != self._tries:  # a download has come in since: the next try will find it
            return
        if isinstance(outcome, Facts):
            self._learned(outcome)
            self.decided.set()
            self.queue.go()
        elif (
            isinstance(outcome, ModelMissing) and self._download_timeout is not None and not self._downloaded
        ):
            self._start_download(self._download_timeout)
        else:
            self._fail(outcome)

    def _start_download(self, timeout: float) -> None:
        self.queue.refuse(EmbedderUnavailable("the embedder's model is being downloaded"))
        self._deadline = self.loop.call_later(
            timeout, self._fail, EmbedderUnavailable(f"the model's download took more than {timeout:g} s")
        )
        if self._download is None:  # else an earlier one has outlived its time, and is still at it
            self._download = threading.Thread(target=self._fetch, name="asynccache-download", daemon=True)
            self._download.start()

    def _fetched(self, error: EmbedderError | None) -> None:
        self._download = None
        self._stop_clock()
        if self._closed:
            return
        if error is None:
            self.load(downloaded=True)
        else:
            self._fail(error)

    def _fail(self, error: EmbedderError) -> None:
        self.queue.refuse(error)
        self._retry_at = self._clock.monotonic() + _RETRY_SECONDS
        self.decided.set()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
