"""The part of the backend contract that learning from near questions builds on."""

# ruff: noqa: PLR2004, S101  (a test suite, published)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import anyio
import pytest

from asynccache._protocols import Backend, Clearable, Clock, Labels
from asynccache.testing._opened import opened
from asynccache.testing.clock import FakeClock
from asynccache.testing.entries import make_entry, make_label

if TYPE_CHECKING:
    from asynccache._judging import Label

__all__ = ["LabelContract"]


async def told(labels: Labels, after: int = 0) -> tuple[list[Label], int]:
    """All labels after a cursor, and the cursor after them."""
    found: list[Label] = []
    for _ in range(1000):
        page = await labels.labels(after)
        found += page.labels
        after = page.cursor
        if not page.more:
            return found, after
    raise AssertionError("the backend never comes to the end of its labels")


class LabelContract:
    """What a backend with ``Labels`` promises."""

    persistent: ClassVar[bool]

    def make_backend(self, tmp_path: Path, clock: Clock) -> Backend:
        """See BackendContract."""
        raise NotImplementedError

    @pytest.fixture
    def labels(self, backend: Backend) -> Labels:
        """The backend under test, once more."""
        if not isinstance(backend, Labels):
            pytest.skip("the backend keeps no labels")
        return backend

    async def test_labels_come_back_whole_and_in_order(self, labels: Labels, clock: FakeClock) -> None:
        put = [make_label(n, at=clock.now() + n) for n in range(30)]
        put[7] = make_label(7, at=0.5, kind="reject", missed=0.0, accepted=0.0, score=-7.25)
        await labels.put_labels(put[:10])
        await labels.put_labels(put[10:])
        assert (await told(labels))[0] == put

    async def test_what_was_told_before_a_cursor_is_not_told_after_it(
        self, labels: Labels, clock: FakeClock
    ) -> None:
        assert (await told(labels))[0] == []
        await labels.put_labels([make_label(1, at=clock.now())])
        first, cursor = await told(labels)
        assert await told(labels, cursor) == ([], cursor)
        await labels.put_labels([make_label(2, at=clock.now())])
        assert (await told(labels, cursor))[0] == [make_label(2, at=clock.now())]
        assert first == [make_label(1, at=clock.now())]

    async def test_the_same_label_twice_is_two_labels(self, labels: Labels, clock: FakeClock) -> None:
        await labels.put_labels([make_label(at=clock.now())] * 2)
        assert len((await told(labels))[0]) == 2

    async def test_more_labels_than_a_page_holds_all_show(self, labels: Labels, clock: FakeClock) -> None:
        put = [make_label(n, at=clock.now()) for n in range(150)]
        for n in range(0, 150, 50):
            await labels.put_labels(put[n : n + 50])
        found, _ = await told(labels)
        assert found == put[-len(found) :]  # a small store forgets the oldest
        assert len(found) >= 50

    async def test_what_callers_say_does_not_give_way_to_misses(
        self, labels: Labels, clock: FakeClock
    ) -> None:
        said = make_label(1, at=clock.now(), kind="reject", same=False)
        await labels.put_labels([said])
        for n in range(0, 400, 50):
            await labels.put_labels([make_label(n + m, at=clock.now()) for m in range(50)])
        assert said in (await told(labels))[0]

    async def test_labels_outlive_the_entry_they_are_about(
        self, backend: Backend, labels: Labels, clock: FakeClock
    ) -> None:
        entry = make_entry(1, created_at=clock.now())
        await backend.put(entry)
        await labels.put_labels([make_label(1, at=clock.now(), key=entry.key)])
        await backend.put(make_entry(1, created_at=clock.now() + 1))
        await backend.delete([entry.key])
        assert len((await told(labels))[0]) == 1

    async def test_clearing_forgets_the_labels(
        self, backend: Backend, labels: Labels, clock: FakeClock
    ) -> None:
        if not isinstance(backend, Clearable):
            pytest.skip("the backend cannot be cleared")
        await labels.put_labels([make_label(at=clock.now())])
        _, cursor = await told(labels)
        await backend.clear()
        assert (await told(labels))[0] == []
        await labels.put_labels([make_label(3, at=clock.now())])
        assert len((await told(labels, cursor))[0]) == 1

    async def test_labels_of_many_writers_are_all_told(self, labels: Labels, clock: FakeClock) -> None:
        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(labels.put_labels, [make_label(n, at=clock.now())])
        assert sorted((await told(labels))[0]) == sorted(make_label(n, at=clock.now()) for n in range(20))

    async def test_labels_are_there_after_reopening(self, tmp_path: Path, clock: FakeClock) -> None:
        if not self.persistent:
            pytest.skip("the store does not outlive its object")
        folder = tmp_path / "labels"
        folder.mkdir()
        backend = self.make_backend(folder, clock)
        if not isinstance(backend, Labels):
            pytest.skip("the backend keeps no labels")
        async with opened(backend):
            await backend.put_labels([make_label(5, at=clock.now())])
        backend = self.make_backend(folder, clock)
        assert isinstance(backend, Labels)
        async with opened(backend):
            assert (await told(backend))[0] == [make_label(5, at=clock.now())]
