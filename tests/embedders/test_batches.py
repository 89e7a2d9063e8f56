"""Which texts are embedded together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asynccache.embedders._batches import alike, first

SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=60)
MOST = st.integers(1, 10)


@given(SIZES, MOST)
def test_batch_is_the_oldest_and_the_next_within_a_quarter_of_its_size(sizes: list[int], most: int) -> None:
    near = [place for place, size in enumerate(sizes) if 0.75 * sizes[0] <= size <= 1.25 * sizes[0]]
    assert alike(sizes, most=most) == near[:most]
    assert near[0] == 0


def test_texts_a_quarter_longer_or_shorter_still_belong() -> None:
    assert alike([20, 15, 14, 25, 26], most=8) == [0, 1, 3]


def test_sizes_may_come_from_an_iterator() -> None:
    assert alike(iter([4, 4, 9, 4]), most=2) == [0, 1]


@given(SIZES, MOST)
def test_without_regard_to_size_the_oldest_go_first(sizes: list[int], most: int) -> None:
    assert first(sizes, most=most) == list(range(len(sizes)))[:most]


@given(SIZES, MOST)
def test_everything_is_embedded_after_finitely_many_batches_and_the_oldest_always_first(
    sizes: list[int], most: int
) -> None:
    waiting = list(enumerate(sizes))
    while waiting:
        places = alike([size for _, size in waiting], most=most)
        assert places == sorted(set(places))
        assert places[0] == 0
        waiting = [each for place, each in enumerate(waiting) if place not in places]
