"""Going on with an answer that broke off, by another one that says the same."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import orjson

from asynccache._errors import UpstreamStreamError
from asynccache.stages._lease_follow import LeaderLost

if TYPE_CHECKING:
    from asynccache._protocols import Dialect

__all__ = ["LOST", "ROUNDS", "joined"]

ROUNDS: Final = 3
"""Leaders that one request follows, the one before having been lost."""
LOST: Final = "the answer broke off: the process that asked for it was lost"
OTHERWISE: Final = (
    "the answer broke off when the process that asked for it was lost, and asked for again it came out "
    "otherwise"
)
MORE_THAN_TEXT: Final = (
    "the answer broke off when the process that asked for it was lost, and it held more than text, which "
    "nothing can be joined to"
)
_PLAIN: Final = frozenset({"role", "content"})


async def joined(
    dialect: Dialect,
    frames: AsyncGenerator[bytes, None],
    again: Callable[[LeaderLost], Awaitable[AsyncGenerator[bytes, None]]],
) -> AsyncGenerator[bytes, None]:
    """The frames, and when they break off, the rest of another answer that begins with the same text.

    Args:
        dialect: of the answer.
        frames: they raise LeaderLost.
        again: makes another answer, from its first frame on; told how the one before was lost.

    Raises:
        UpstreamStreamError: there is no such answer.
    """
    given: list[bytes] = []
    for left in reversed(range(ROUNDS)):
        try:
            async with aclosing(frames):
                async for frame in frames:
                    given.append(frame)
                    yield frame
        except LeaderLost as error:
            if not left:
                raise UpstreamStreamError(LOST) from None
            lost = error
        else:
            return
        text = _text_given(dialect, given)
        frames = _rest(dialect, await again(lost), text)


def _text_given(dialect: Dialect, frames: Sequence[bytes]) -> str:
    """The text of the frames that were handed out.

    Raises:
        UpstreamStreamError: they hold something else that is said piece by piece, or the end.
    """
    texts = [_text(dialect, frame) for frame in frames]
    if None in texts:
        raise UpstreamStreamError(MORE_THAN_TEXT)
    return "".join([text for text in texts if text])


async def _rest(
    dialect: Dialect, frames: AsyncGenerator[bytes, None], given: str
) -> AsyncGenerator[bytes, None]:
    """The frames that follow after a text; closes ``frames``.

    Raises:
        UpstreamStreamError: the answer does not begin with that text, or no frame ends where it does.
    """
    place = 0
    async with aclosing(frames):
        async for frame in frames:
            if place == len(given):
                yield frame
                continue
            text = _text(dialect, frame)
            if text is None or not given.startswith(text, place):
                raise UpstreamStreamError(OTHERWISE)
            place += len(text)
    if place < len(given):
        raise UpstreamStreamError(OTHERWISE)


def _text(dialect: Dialect, frame: bytes) -> str | None:
    """What a frame adds to the text of an answer; None when it does more."""
    try:
        document = orjson.loads(frame)
    except ValueError:
        return None
    return dialect.delta(document) if _is_plain(document) else None


def _is_plain(document: Any) -> bool:
    """Whether a frame says text of one choice and nothing else."""
    choices = document.get("choices") if isinstance(document, dict) else None
    if not isinstance(choices, list) or len(choices) > 1:
        return False
    for choice in choices:
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(delta, dict) or choice.get("index", 0) != 0 or choice.get("finish_reason"):
            return False
        if any(value and name not in _PLAIN for name, value in delta.items()):
            return False
    return True
