"""How far a streamed answer has come. Pure."""

from __future__ import annotations

from asynccache._errors import UpstreamStreamError
from asynccache.upstreams._failures import from_error_event, names_error, parse

__all__ = ["Progress"]


class Progress:
    """Which choices of a streamed answer have begun, and which are finished.

    An answer is complete when every choice that appeared has a finish reason, and at least one did.
    ``[DONE]`` proves nothing: a server whose engine died sends an error event and then ``[DONE]``.
    """

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._finished: set[int] = set()

    def note(self, payload: bytes) -> None:
        """Take in the next event.

        Raises:
            UpstreamStreamError: it is an error event, or no JSON object.
        """
        document = parse(payload)
        if not isinstance(document, dict):
            raise UpstreamStreamError("the upstream sent an event that is no JSON object", body=payload)
        if names_error(document):
            raise from_error_event(document, payload)
        choices = document.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                raise UpstreamStreamError("the upstream sent a choice that is no JSON object", body=payload)
            index = choice.get("index")
            number = index if isinstance(index, int) else 0
            self._begun.add(number)
            if choice.get("finish_reason"):
                self._finished.add(number)

    def check_complete(self) -> None:
        """Raise UpstreamStreamError when the stream ends here and should not."""
        if not self._begun:
            raise UpstreamStreamError("the stream ended without an answer")
        if missing := self._begun - self._finished:
            count = f"{len(missing)} of {len(self._begun)} choices"
            raise UpstreamStreamError(f"the stream ended before {count} had finished")
