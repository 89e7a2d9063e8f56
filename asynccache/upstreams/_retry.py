"""Whether to ask again, and when. Pure decisions: the sleeping is done elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Final

import httpx2

from asynccache._errors import UpstreamBusy, UpstreamError

__all__ = ["LONGEST_WAIT", "retry_after", "wait_before_retry"]

LONGEST_WAIT: Final = 60.0
"""Seconds. An upstream that asks for more is not waited for: the caller can decide better."""

_FIRST_BACKOFF: Final = 0.5
"""Seconds; doubles with each try, up to a point."""
_DOUBLINGS: Final = 4
"""To 8 seconds: a queue of language-model answers empties in seconds."""


_NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout)
"""Causes after which the upstream cannot have seen the request."""


def wait_before_retry(error: UpstreamError, *, tries: int, max_retries: int, random: float) -> float | None:
    """Seconds to wait before the next try, or None to give up.

    Only a request that was not taken is sent again: one that was refused for now (429, 503), or for
    which no connection was made. Whatever else went wrong, the model may already be at work on it.

    Args:
        error: how the last try failed.
        tries: tries so far, 1 or more.
        max_retries: tries allowed after the first.
        random: a fresh number, 0 to 1. Full jitter spreads out those who failed together.
    """
    if tries > max_retries:
        return None
    if not isinstance(error, UpstreamBusy) and not isinstance(error.__cause__, _NEVER_SENT):
        return None
    if error.retry_after is None:
        return random * _FIRST_BACKOFF * 2.0 ** min(tries - 1, _DOUBLINGS)
    if error.retry_after > LONGEST_WAIT:
        return None
    return error.retry_after + random * _FIRST_BACKOFF  # not earlier than asked, nor all at once


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds the upstream asked to wait: 0 or more, or None when it did not say (or not clearly).

    Reads ``retry-after-ms`` (OpenAI's own) before ``retry-after``, which is seconds or an HTTP date
    (RFC 9110, 10.2.3).

    Args:
        headers: lower-case names.
        now: seconds since the epoch.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    given = headers.get("retry-after")
    seconds = _number(given)
    if seconds is not None or given is None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _number(given: str | None) -> float | None:
    try:
        value = float(given or "")
    except ValueError:
        return None
    return value if isfinite(value) and value >= 0 else None
