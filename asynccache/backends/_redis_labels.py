"""Labels of near questions in Redis: two streams in the first shard, those that callers gave apart."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from asynccache._errors import BackendError
from asynccache._judging import LabelPage
from asynccache.backends._redis_scripts import LABELS
from asynccache.backends._stored_label import decode_label, encode_label

if TYPE_CHECKING:
    from asynccache._judging import Label
    from asynccache.backends._redis_client import Client

__all__ = ["LabelStore"]

KEPT: Final = 100_000
"""Labels of each kind, approximately."""
PAGE: Final = 1024
KINDS: Final = (b"labels", b"lasting")

_NUMBER: Final = 64
"""Bits of a label's number in a cursor, which holds one of each stream."""


class LabelStore:
    """Keeps labels and tells them in the order of their arrival."""

    def __init__(self, client: Client) -> None:
        self._client: Final = client

    async def put(self, labels: Sequence[Label]) -> None:
        """Keep, all or none."""
        try:
            values = [part for each in labels for part in (KINDS[each.lasting], encode_label(each))]
        except ValueError as error:
            raise BackendError(f"these labels cannot be stored: {error}") from error
        if values:
            await self._client.change(LABELS, self._client.names.shards[0], b"%d" % KEPT, *values, once=True)

    async def page(self, after: int) -> LabelPage:
        """Some of those after a cursor."""
        shard = self._client.names.shards[0]
        cursors = [after & ((1 << _NUMBER) - 1), after >> _NUMBER]
        asked = [
            self._client.ask(
                shard,
                b"XRANGE",
                shard.base + kind,
                b"(%d-0" % cursor,
                b"+",
                b"COUNT",
                b"%d" % PAGE,
                fits=_is_list,
            )
            for kind, cursor in zip(KINDS, cursors, strict=True)
        ]
        streams = [[(_number(each), kind, each) for each in await asked[kind]] for kind in range(len(KINDS))]
        some = list(islice(merge(*streams), PAGE))
        for number, kind, _ in some:
            cursors[kind] = number
        found = [label for _, _, each in some if (label := decode_label(each[1][1])) is not None]
        return LabelPage(found, cursors[0] + (cursors[1] << _NUMBER), len(some) == PAGE)


def _number(item: Any) -> int:
    return int(item[0].partition(b"-")[0])


def _is_list(reply: Any) -> bool:
    return isinstance(reply, list)
