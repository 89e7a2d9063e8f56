from __future__ import annotations

import numpy as np
import pytest

from asynccache.decision._local import FAR, around, local_shift
from asynccache.decision.records import Known


def shift(*records: tuple[float, float, float]) -> float:
    cosines, pull, information = (np.array(column, dtype=float) for column in zip(*records, strict=True))
    return local_shift(cosines, pull, information)


def test_no_neighbours_shift_nothing() -> None:
    nothing = np.zeros(0)
    assert local_shift(nothing, nothing, nothing) == 0


def test_neighbours_without_records_shift_nothing() -> None:
    assert shift((0.9, 0, 0), (0.8, 0, 0)) == 0


def test_one_label_at_the_question_itself_is_one_damped_newton_step() -> None:
    assert shift((1.0, 0.5, 0.25)) == pytest.approx(0.5 / (0.375 + 0.25))


def test_nearer_labels_weigh_more() -> None:
    assert shift((0.95, -0.5, 0.25), (0.7, 0.5, 0.25)) < 0 < shift((0.95, 0.5, 0.25), (0.7, -0.5, 0.25))


def test_shift_is_bounded_both_ways() -> None:
    assert shift((1.0, 50, 0.1)) == 3
    assert shift((1.0, -50, 0.1)) == -3


def seen(cosines: list[float], groups: list[int], candidate: int = 0) -> tuple[float, float, int]:
    nothing = np.zeros(len(cosines))
    known = Known(nothing, nothing, np.array(groups, np.uint32))
    found = around(np.array(cosines), known, candidate)
    assert found.shift == 0
    return found.share, found.margin, found.members


def test_neighbours_of_one_answer_are_all_the_votes_there_are() -> None:
    share, margin, members = seen([0.9, 0.8, 0.7], [7, 7, 7])
    assert (share, members) == (1, 3)
    assert margin == pytest.approx(0.9 - FAR)


def test_votes_count_by_nearness_and_the_margin_is_between_the_nearest_of_both() -> None:
    share, margin, members = seen([0.9, 0.85, 0.8, 0.6], [7, 8, 7, 7])
    assert 0.5 < share < 1
    assert margin == pytest.approx(0.05)
    assert members == 3
    share, margin, members = seen([0.9, 0.85, 0.8, 0.6], [7, 8, 7, 7], candidate=1)
    assert share < 0.5
    assert margin == pytest.approx(-0.05)
    assert members == 1
