"""What is embedded, and what counts as a vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from asynccache._errors import EmbedderError, EmbedderUnavailable, TextRefused
from asynccache.embedders._rows import again, assembled, size_of, unavailable, unit_rows


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u2003"])
def test_text_without_words_is_refused(text: str) -> None:
    with pytest.raises(TextRefused, match="empty"):
        size_of(text)


def test_text_that_is_not_unicode_is_refused_without_quoting_it() -> None:
    with pytest.raises(TextRefused) as caught:
        size_of("secret \ud800")
    assert "secret" not in str(caught.value)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: not text.isspace()))
def test_size_of_a_text_is_its_utf_8_bytes(text: str) -> None:
    assert size_of(text) == len(text.encode())


@given(nst.arrays(np.float64, (3, 4), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)))
def test_every_row_has_norm_1_or_is_refused(vectors: Any) -> None:
    for vector, outcome in zip(vectors, unit_rows(vectors, 3), strict=True):
        if isinstance(outcome, EmbedderError):
            assert isinstance(outcome, TextRefused)
            assert not np.all(np.isfinite(vector)) or np.linalg.norm(vector) <= 1e-12
        else:
            assert outcome.shape == (1, 4)
            assert outcome.dtype == np.float32
            assert abs(np.linalg.norm(outcome) - 1) < 1e-6
            assert np.allclose(
                outcome[0] * np.linalg.norm(vector), vector, rtol=1e-5, atol=1e-5 * abs(vector).max()
            )


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 0.0, 1e-200, 1e200])
def test_vector_without_a_direction_is_refused_alone(bad: float) -> None:
    good, refused = unit_rows([[3.0, 4.0], [bad, bad]], 2)
    assert np.allclose(good, [[0.6, 0.8]])  # type: ignore[arg-type]  # not an error
    assert isinstance(refused, TextRefused)


@pytest.mark.parametrize("given", [[[1.0]], [1.0, 2.0], [[], []], [[[1.0]], [[1.0]]], None, 3.0])
def test_anything_but_a_vector_for_each_text_is_a_failure(given: object) -> None:
    with pytest.raises((EmbedderUnavailable, TypeError, ValueError)):
        unit_rows(given, 2)


def test_rows_cannot_be_written_to_and_hold_nothing_but_themselves() -> None:
    row = unit_rows(np.ones((100, 4)), 100)[7]
    assert not isinstance(row, EmbedderError)
    assert row.base is None
    with pytest.raises(ValueError, match="read-only"):
        row[0, 0] = 2.0


def test_single_row_is_handed_over_as_it_is_and_several_as_a_new_array() -> None:
    one, two = (row for row in unit_rows(np.eye(2), 2) if not isinstance(row, EmbedderError))
    assert assembled([one], 2) is one
    assert np.array_equal(assembled([two, one], 2), [[0, 1], [1, 0]])
    assert assembled([], 5).shape == (0, 5)
    assert not assembled([two, one], 2).flags.writeable


def test_foreign_failure_is_named_by_its_kind_and_not_in_its_words() -> None:
    cause = RuntimeError("could not embed: my secret question")
    error = unavailable(cause)
    assert str(error) == "the embedder failed (RuntimeError)"
    assert error.__cause__ is cause


def test_each_caller_gets_an_error_of_its_own() -> None:
    error = TextRefused("why")
    error.__cause__ = KeyError("x")
    copy = again(error)
    assert copy is not error
    assert isinstance(copy, TextRefused)
    assert copy.reason == "why"
    assert copy.__cause__ is error.__cause__
