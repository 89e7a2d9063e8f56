"""Whether a fresh answer is the stored one that was proposed for its question."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import orjson
from anyio import to_thread

from asynccache._judging import AnswerPair
from asynccache._models import Response
from asynccache._registry import find_dialect
from asynccache.stages.write import ON_LOOP, refusal

if TYPE_CHECKING:
    from asynccache._models import Entry, Request
    from asynccache._protocols import AnswerEquivalence

__all__ = ["Comparison"]


class Comparison:
    """Asks a judge, about answers that may be compared at all.

    Args:
        judge: tells equal answers from different ones.
    """

    def __init__(self, judge: AnswerEquivalence) -> None:
        self.judge: Final = judge
        # Of its own: all of the default limiter's threads may be waiting for an answer.
        self._threads: Final = anyio.CapacityLimiter(1)

    async def __call__(self, request: Request, fresh: Response, stored: Entry) -> bool | None:
        """True: the same. False: different. None: nobody can tell, or the fresh answer is none."""
        size = len(fresh.body) + sum(map(len, fresh.frames)) + len(stored.response.body)
        reading = partial(_texts, request, fresh, stored)
        read = reading() if size <= ON_LOOP else await to_thread.run_sync(reading, limiter=self._threads)
        return read if read is None or isinstance(read, bool) else await self.judge(read)


def _texts(request: Request, fresh: Response, stored: Entry) -> AnswerPair | bool | None:
    dialect = find_dialect(request.dialect)
    if fresh.frames and not fresh.body:
        try:
            fresh = Response(dialect.assemble(fresh.frames), fresh.frames)
        except ValueError:
            return None
    if refusal(request, fresh) is not None:  # cut off, filtered, broken: it says nothing of the stored one
        return None
    if dialect.acts(fresh):  # the stored answer only says something, or it would not have been proposed
        return False
    texts = (dialect.text(orjson.loads(fresh.body)), dialect.text(orjson.loads(stored.response.body)))
    if not all(texts):
        return None
    return AnswerPair(request.question or "", stored.question or "", *texts)
