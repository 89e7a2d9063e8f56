"""What a caller says of an answer it got."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asynccache._models import Source
from asynccache._protocols import Learning

if TYPE_CHECKING:
    from asynccache._keys import Keyring
    from asynccache._outcome import Outcome
    from asynccache._protocols import Backend, Decision

__all__ = ["correct"]


async def correct(
    outcome: Outcome, backend: Backend, decision: Decision | None, keyring: Keyring, *, same: bool
) -> bool:
    """Learn that an answer was right or wrong, and forget what must not be served again.

    Returns:
        Whether there was anything to learn or to forget.

    Raises:
        BackendError: the store could not be changed.
    """
    request, judgement = outcome.request, outcome.judgement
    near = judgement is not None and outcome.source in (Source.SEMANTIC, Source.SHARED)
    if near and judgement is not None and isinstance(decision, Learning):
        if outcome.accepted is not None:  # what was served, whatever a decision thought of others
            judgement = judgement._replace(candidate=outcome.accepted)
        decision.learn(request, judgement, same=same, kind="accept" if same else "reject")
        # It holds from now on; it must do so after a crash as well.
        flush = getattr(decision, "flush", None)
        if flush is not None:
            await flush()
        if not same:
            await _forget_alias(backend, request.key)
        return True
    if same or not request.key:
        return False
    return await backend.delete([request.key, *keyring.keys(request)[1:]]) > 0


async def _forget_alias(backend: Backend, key: bytes) -> None:
    entry = await backend.get(key)
    if entry is not None and entry.alias is not None:
        await backend.delete([key])
