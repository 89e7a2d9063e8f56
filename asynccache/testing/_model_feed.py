"""The steps of a random history that number changes and fill in answers that took their time."""

# ruff: noqa: S101  (a test suite, published)

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from anyio.from_thread import BlockingPortal
from hypothesis.stateful import RuleBasedStateMachine

from asynccache._models import Entry
from asynccache._protocols import Backend, Feed
from asynccache.testing._told import Generations, stored
from asynccache.testing.clock import FakeClock

__all__ = ["FeedSteps"]


class _Token(NamedTuple):
    """A position of a key, and what the model knows of it."""

    position: int
    exact: bool
    """Whether the store had told it at that moment: then nothing earlier may void."""
    place: int
    """Number of the invalidations before."""


class _Invalidation(NamedTuple):
    keys: Collection[bytes]
    tags: Collection[str]
    everything: bool
    removed: Collection[bytes]
    """Keys of the entries that had the tags: a store may take those for invalidated as well."""

    def voids(self, entry: Entry) -> bool:
        return self.everything or entry.key in self.keys or bool(set(self.tags) & set(entry.tags))


class FeedSteps(RuleBasedStateMachine):
    """What a history with a ``Feed`` does beside the rest."""

    _backend: Backend
    _portal: BlockingPortal
    _clock: FakeClock
    _model: dict[bytes, Entry]

    def __init__(self) -> None:
        super().__init__()
        self._tokens: dict[bytes, _Token] = {}
        self._invalidations: list[_Invalidation] = []
        self._generations = Generations()  # what a memory in front of the backend would hold
        self._held: dict[bytes, Entry] = {}  # the entries it would hold

    def invalidated(
        self,
        *,
        keys: Collection[bytes] = (),
        tags: Collection[str] = (),
        everything: bool = False,
        removed: Collection[bytes] = (),
    ) -> None:
        """Note what must not be filled in any more by those who asked before."""
        self._invalidations.append(_Invalidation(keys, tags, everything, removed))

    def take_token(self, key: bytes) -> None:
        """Look for an answer, and remember from when a fill is."""
        assert isinstance(self._backend, Feed)
        found = self._portal.call(self._backend.get, key)
        position = self._portal.call(self._backend.position, key)
        self._tokens[key] = _Token(position, found is None, len(self._invalidations))

    def fill_in(self, entry: Entry) -> None:
        """Store with the token of its key, if one was taken."""
        assert isinstance(self._backend, Feed)
        token = self._tokens.get(entry.key)
        since = None if token is None else token.position
        number = self._portal.call(stored, self._backend, entry, since)
        later = [] if token is None else self._invalidations[token.place :]
        if any(each.voids(entry) for each in later):
            assert number is None
        elif token is None or (token.exact and not any(entry.key in each.removed for each in later)):
            assert number is not None
        if number is not None:
            self._model[entry.key] = entry
            if entry.expires_at > self._clock.now():
                assert self._portal.call(self._backend.generations, [entry.key]) == [number]

    def follow_the_feed(self, keys: Collection[bytes]) -> None:
        """What a memory holds, and was not told to have changed, is what is stored; unless it has expired."""
        assert isinstance(self._backend, Feed)
        now = self._clock.now()
        self._portal.call(self._generations.follow, self._backend)
        listed = list(keys)
        found: list[Any] = self._portal.call(self._backend.get_many, listed)
        numbers: list[int | None] = self._portal.call(self._backend.generations, listed)
        for key, entry, number in zip(listed, found, numbers, strict=True):
            assert (None if entry is None else entry.generation) == number
            if key in self._generations.held and self._held[key].expires_at > now:
                assert self._generations.held[key] == number
                assert self._model[key] is self._held[key]
        self._portal.call(self._generations.read, self._backend, keys)
        self._held = dict(self._model)
