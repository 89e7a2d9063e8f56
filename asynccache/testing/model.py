"""Random histories of a backend, compared step by step with a dictionary."""

# ruff: noqa: S101  (a test suite, published)

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Final

from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from asynccache._models import Entry, Response
from asynccache._protocols import Backend, Clearable, Clock, Conditional, Feed, Managed, Taggable, Vectors
from asynccache.testing._mirror import Mirror
from asynccache.testing._model_feed import FeedSteps
from asynccache.testing.clock import FakeClock
from asynccache.testing.entries import make_embedding, same

__all__ = ["run_against_model"]

MakeBackend = Callable[[Path, Clock], Backend]

# Few of each, so that histories meet. The first bytes of the keys are equal, and so are the last.
_KEYS: Final = [b"k" * 15 + bytes([n, n]) + b"k" * 15 for n in range(5)]
_PARTITIONS: Final = [hashlib.sha256(name).digest() for name in (b"one", b"two")]
_SPACES: Final = [hashlib.sha256(name).digest()[:16] for name in (b"one", b"two")]
_TAGS: Final = ["a", "b", "ab"]

keys = st.sampled_from(_KEYS)
some_keys = st.lists(keys, max_size=6)
some_tags = st.lists(st.sampled_from(_TAGS), max_size=3)
answers = st.builds(Response, st.binary(max_size=40), st.lists(st.binary(max_size=10), max_size=3).map(tuple))
puts = st.fixed_dictionaries(
    {
        "key": keys,
        "partition": st.sampled_from(_PARTITIONS),
        "response": answers,
        "age": st.sampled_from([0.0, 1.0, 3.0]),
        "ttl": st.sampled_from([None, 0.0, 2.0, 5.0]),
        "tags": some_tags.map(tuple),
        "question": st.none() | st.text(max_size=10),
        "embedding": st.none() | st.builds(make_embedding, st.integers(0, 9), space=st.sampled_from(_SPACES)),
    }
)


class _History(FeedSteps):
    """One history: every rule does the same to the backend and to the model."""

    def __init__(
        self, make_backend: MakeBackend, folder: Path, portal: BlockingPortal, *, persistent: bool
    ) -> None:
        super().__init__()
        self._make_backend = make_backend
        self._folder = folder
        self._persistent = persistent
        self._clock = FakeClock()
        self._model: dict[bytes, Entry] = {}
        self._portal = portal
        self._opened = ExitStack()
        self._backend: Backend
        self._stamp = 0
        self._made: list[Entry] = []  # every one that was ever to be stored; no two are equal
        self._mirror = Mirror()  # what an index over the backend would hold

    @initialize()
    def open(self) -> None:
        self._backend = self._portal.call(self._make_backend, self._folder, self._clock)
        if isinstance(self._backend, Managed):
            self._opened.enter_context(self._portal.wrap_async_context_manager(self._backend.lifespan()))

    def teardown(self) -> None:
        self._opened.close()

    @rule(batch=st.lists(puts, min_size=1, max_size=4), followed=st.booleans())
    def put(self, batch: list[dict[str, Any]], *, followed: bool) -> None:
        for fields in batch:
            entry = self._make(fields)
            self._portal.call(self._backend.put, entry)
            self._model[entry.key] = entry
        if followed and isinstance(self._backend, Vectors):
            self.follow()

    @precondition(lambda self: isinstance(self._backend, Conditional))
    @rule(fields=puts)
    def add(self, fields: dict[str, Any]) -> None:
        assert isinstance(self._backend, Conditional)
        entry = self._make(fields)
        there = entry.key in self._live()
        added = self._portal.call(self._backend.add, entry)
        # What nobody will ever find may be stored or not.
        assert added is not there or (not there and entry.expires_at <= self._clock.now())
        if added:
            self._model[entry.key] = entry

    @precondition(lambda self: self._made and isinstance(self._backend, Conditional))
    @rule(ago=st.integers(0, 5), bare=st.booleans())
    def remove(self, ago: int, *, bare: bool) -> None:
        assert isinstance(self._backend, Conditional)
        entry = self._made[-1 - ago % len(self._made)]
        removed = self._portal.call(self._backend.remove, replace(entry, embedding=None) if bare else entry)
        held = self._model.get(entry.key) is entry
        live = self._live().get(entry.key) is entry
        # A backend may count the expired entries that have not left it yet.
        assert live <= removed <= held
        if removed:
            self.invalidated(keys=[entry.key])
            self._forget({entry.key})

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 10.0]))
    def let_time_pass(self, seconds: float) -> None:
        self._clock.advance(seconds)

    @rule(key=keys)
    def get(self, key: bytes) -> None:
        self._compare(self._portal.call(self._backend.get, key), key)

    @rule(asked=some_keys)
    def get_many(self, asked: list[bytes]) -> None:
        found = self._portal.call(self._backend.get_many, asked)
        assert len(found) == len(asked)
        for entry, key in zip(found, asked, strict=True):
            self._compare(entry, key)

    @rule(doomed=some_keys.map(set))
    def delete(self, doomed: set[bytes]) -> None:
        expected = len(doomed & self._live().keys())
        removed = self._portal.call(self._backend.delete, doomed)
        # A backend may count the expired entries that have not left it yet.
        assert expected <= removed <= len(doomed & self._model.keys())
        self.invalidated(keys=doomed)
        self._forget(doomed)

    @precondition(lambda self: isinstance(self._backend, Taggable))
    @rule(tags=some_tags)
    def delete_tagged(self, tags: list[str]) -> None:
        assert isinstance(self._backend, Taggable)
        doomed = {key for key, entry in self._model.items() if set(tags) & set(entry.tags)}
        expected = len(doomed & self._live().keys())
        assert expected <= self._portal.call(self._backend.delete_tagged, tags) <= len(doomed)
        self.invalidated(tags=tags, removed=doomed)
        self._forget(doomed)

    @precondition(lambda self: isinstance(self._backend, Clearable))
    @rule()
    def clear(self) -> None:
        assert isinstance(self._backend, Clearable)
        assert len(self._live()) <= self._portal.call(self._backend.clear) <= len(self._model)
        self.invalidated(everything=True)
        self._model.clear()

    @rule(partition=st.none() | st.sampled_from(_PARTITIONS))
    def scan(self, partition: bytes | None) -> None:
        found = self._portal.call(self._scan, partition)
        expected = [e for e in self._live().values() if partition is None or e.partition == partition]
        assert found == sorted(expected, key=lambda entry: entry.created_at)

    @precondition(lambda self: isinstance(self._backend, Vectors))
    @rule()
    def follow(self) -> None:
        assert isinstance(self._backend, Vectors)
        now = self._clock.now()
        expected = Mirror.of(self._live().values())
        anew = Mirror()
        for mirror, read in ((anew, anew.read), (self._mirror, self._mirror.follow)):
            self._portal.call(read, self._backend)
            assert mirror.live(now) == expected

    @precondition(lambda self: isinstance(self._backend, Feed))
    @rule(key=keys)
    def ask(self, key: bytes) -> None:
        self.take_token(key)

    @precondition(lambda self: isinstance(self._backend, Feed))
    @rule(fields=puts)
    def fill(self, fields: dict[str, Any]) -> None:
        self.fill_in(self._make(fields))

    @precondition(lambda self: isinstance(self._backend, Feed))
    @rule()
    def follow_feed(self) -> None:
        self.follow_the_feed(_KEYS)

    @precondition(lambda self: self._persistent)
    @rule()
    def reopen(self) -> None:
        self._opened.close()
        self.open()

    def _make(self, fields: dict[str, Any]) -> Entry:
        self._stamp += 1  # tells entries of one instant apart in their order
        created_at = self._clock.now() - fields["age"] + self._stamp / 2**20
        told = {name: value for name, value in fields.items() if name != "age"}
        entry = Entry(dialect="chat.completions", created_at=created_at, **told)
        self._made.append(entry)
        return entry

    async def _scan(self, partition: bytes | None) -> list[Entry]:
        return [entry async for entry in self._backend.scan(partition)]

    def _compare(self, found: Entry | None, key: bytes) -> None:
        expected = self._live().get(key)
        if expected is None:
            assert found is None
        else:
            assert same(found, expected)

    def _live(self) -> dict[bytes, Entry]:
        now = self._clock.now()
        return {key: entry for key, entry in self._model.items() if entry.expires_at > now}

    def _forget(self, doomed: set[bytes]) -> None:
        for key in doomed:
            self._model.pop(key, None)


def run_against_model(
    make_backend: MakeBackend, folder: Path, *, persistent: bool, examples: int, shrink: bool
) -> None:
    """Try random histories; raise AssertionError with one that differs from the model.

    Args:
        make_backend: called with an empty folder for every history, and again for each reopening.
        folder: where those folders are made.
        persistent: whether a backend made anew in its folder finds its entries.
        examples: histories tried, of up to 30 steps each.
        shrink: look for the shortest history that differs, which may take minutes.
    """
    numbers = count(1)
    # One event loop, in a thread of its own, for all histories: a lifespan is left in the task that
    # entered it, and background work goes on between the steps.
    with start_blocking_portal("asyncio") as portal:

        def history() -> _History:
            own = folder / f"history-{next(numbers)}"
            own.mkdir()
            return _History(make_backend, own, portal, persistent=persistent)

        how = settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,  # a slow disk is not a broken promise
            suppress_health_check=[HealthCheck.too_slow],
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            database=None,
        )
        run_state_machine_as_test(history, settings=how)  # type: ignore[arg-type]  # takes any factory
