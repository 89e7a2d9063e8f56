"""What may go wrong with a Redis, in the one family of errors a backend raises."""

from __future__ import annotations

from typing import Final

from redis import exceptions as redis_errors

from asynccache._errors import BackendError, BackendUnavailable

__all__ = ["MISMATCH", "as_backend_error", "is_connection_trouble"]

MISMATCH: Final = "the reply belongs to another question; the connection was dropped"


def as_backend_error(error: BaseException) -> BackendError:
    """The same in our words. Server messages are quoted: they hold command names, never values."""
    if isinstance(error, BackendError):
        return error
    if isinstance(error, TimeoutError | redis_errors.TimeoutError):
        made = BackendUnavailable("redis did not answer in time")
    elif isinstance(error, redis_errors.AuthenticationError | redis_errors.NoPermissionError):
        made = BackendUnavailable(f"redis refuses these credentials: {_short(error)}")
    elif isinstance(error, redis_errors.ResponseError | redis_errors.ConnectionError | OSError):
        made = BackendUnavailable(f"redis: {_short(error)}")
    else:
        # Its text may quote anything.
        made = BackendUnavailable(f"redis: {type(error).__name__}")
    made.__cause__ = error
    return made


def is_connection_trouble(error: BaseException) -> bool:
    """Whether the connection had gone before the question was put; asking once more may help."""
    if isinstance(error, redis_errors.TimeoutError | TimeoutError):
        return False
    return isinstance(error, redis_errors.ConnectionError | OSError)


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
