"""When a request is sent again; no loop, no clock."""

from __future__ import annotations

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache._errors import (
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamBusy,
    UpstreamError,
    UpstreamServerError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from asynccache.upstreams._retry import LONGEST_WAIT, retry_after, wait_before_retry

_TUESDAY = 1_792_483_200.0  # Tue, 20 Oct 2026 08:00:00 GMT


def caused_by(error: UpstreamError, cause: Exception) -> UpstreamError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        UpstreamBusy("busy", status=429),
        UpstreamBusy("busy", status=503),
        caused_by(UpstreamUnreachable("refused"), httpx2.ConnectError("refused")),
        caused_by(UpstreamTimeout("slow"), httpx2.ConnectTimeout("slow")),
    ],
)
def test_request_that_was_not_taken_is_sent_again(error: UpstreamError) -> None:
    assert wait_before_retry(error, tries=1, max_retries=2, random=1.0) == 0.5


@pytest.mark.parametrize(
    "error",
    [
        UpstreamBadRequest("no", status=400),
        UpstreamAuth("no", status=401),
        UpstreamServerError("no", status=500),
        caused_by(UpstreamTimeout("slow"), httpx2.ReadTimeout("slow")),
        caused_by(UpstreamUnreachable("broken"), httpx2.ReadError("broken")),
        caused_by(UpstreamUnreachable("broken"), httpx2.RemoteProtocolError("broken")),
    ],
)
def test_request_that_may_have_been_processed_is_never_sent_again(error: UpstreamError) -> None:
    assert wait_before_retry(error, tries=1, max_retries=9, random=0.0) is None


def test_tries_are_counted() -> None:
    error = UpstreamBusy("busy")
    assert wait_before_retry(error, tries=2, max_retries=2, random=0.5) is not None
    assert wait_before_retry(error, tries=3, max_retries=2, random=0.5) is None
    assert wait_before_retry(error, tries=1, max_retries=0, random=0.5) is None


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_backoff_stays_between_nothing_and_its_ceiling(tries: int, random: float) -> None:
    wait = wait_before_retry(UpstreamBusy("busy"), tries=tries, max_retries=10_000, random=random)
    assert wait is not None
    assert 0 <= wait <= min(8.0, 0.5 * 2 ** min(tries - 1, 10))


def test_backoff_doubles() -> None:
    waits = [wait_before_retry(UpstreamBusy("b"), tries=n, max_retries=9, random=1.0) for n in range(1, 8)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_upstream_is_not_asked_again_before_it_said() -> None:
    error = UpstreamBusy("busy", retry_after=7.0)
    assert wait_before_retry(error, tries=1, max_retries=1, random=0.0) == 7.0
    assert wait_before_retry(error, tries=1, max_retries=1, random=1.0) == 7.5


def test_upstream_that_asks_for_too_long_a_wait_is_given_up_at_once() -> None:
    at_most = UpstreamBusy("busy", retry_after=LONGEST_WAIT)
    too_long = UpstreamBusy("busy", retry_after=LONGEST_WAIT + 0.1)
    assert wait_before_retry(at_most, tries=1, max_retries=1, random=0.0) == LONGEST_WAIT
    assert wait_before_retry(too_long, tries=1, max_retries=1, random=0.0) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "Tue, 20 Oct 2026 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 20 Oct 2026 07:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Tue, 99 Foo 2026 99:99:99 GMT"}, None),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "1"}, 1.0),
    ],
)
def test_retry_after_is_read_in_each_of_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=_TUESDAY) == seconds


@given(st.text(max_size=40))
def test_no_header_value_makes_the_reader_fail(value: str) -> None:
    seconds = retry_after({"retry-after": value, "retry-after-ms": value}, now=_TUESDAY)
    assert seconds is None or 0 <= seconds < float("inf")
