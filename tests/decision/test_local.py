from __future__ import annotations

import numpy as np
import pytest

from asynccache.decision._local import local_shift


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
