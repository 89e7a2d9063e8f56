"""How far a streamed answer has come, and whether it broke on the way. Pure."""

from __future__ import annotations

from typing import Final

from asynccache._errors import UpstreamStreamError
from asynccache._registry import find_dialect
from asynccache.upstreams._failures import from_error_event, names_error, parse

__all__ = ["CheckedProgress"]


class CheckedProgress:
    """A dialect's progress, with an error for all that breaks an answer.

    ``[DONE]`` proves nothing: a server whose engine died sends an error event and then ``[DONE]``.

    Args:
        dialect: the protocol of the answer.
    """

    def __init__(self, dialect: str) -> None:
        self._progress: Final = find_dialect(dialect).progress()

    def note(self, payload: bytes) -> None:
        """Take in the next event.

        Raises:
            UpstreamStreamError: it is an error event, or cannot be part of the answer.
        """
        document = parse(payload)
        if not isinstance(document, dict):
            raise UpstreamStreamError("the upstream sent an event that is no JSON object", body=payload)
        if names_error(document):
            raise from_error_event(document, payload)
        try:
            self._progress.note(document)
        except ValueError as error:
            raise UpstreamStreamError(f"the upstream sent {error}", body=payload) from None

    def check_complete(self) -> None:
        """Raise UpstreamStreamError when the stream ends here and should not."""
        if missing := self._progress.missing():
            raise UpstreamStreamError(f"the stream ended {missing}")
