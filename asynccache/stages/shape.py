"""Send requests in a shape in which the upstream's prefix cache can know them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from asynccache._errors import ConfigurationError
from asynccache.stages._shape_body import shaped_body
from asynccache.stages._shape_volatile import VOLATILE

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Request
    from asynccache.stages.prefix_watch import PrefixWatch

__all__ = ["VOLATILE", "PromptShaper"]

SHAPE: Final = "shape/2"
"""Part of every key: a change of what shaping does starts a new set of keys."""
_DIALECT: Final = "chat.completions"


class PromptShaper:
    """Bring a chat request into the order that lets its upstream reuse what it has computed.

    An upstream such as vLLM keeps the work on a prompt up to the first token that is new, so whatever
    differs without need should stand last. A stage for a custom chain, before ``Normalize``; requests of
    other dialects pass. The upstream is sent what the key was made of; requests share an answer when they
    are sent alike and the same lines were moved in them.

    What it does is part of key and partition, through ``control.version``: a list in JSON of its name, its
    options, the lines it moved and the version the caller gave. In a custom chain, ``invalidate`` and the
    like take a request as the caller wrote it; give them what ``shaped`` makes of it.

    Args:
        tools: sort tools by name, and the keys in them; default True. The model reads the tools in this
            order.
        volatile: move lines that tell the present time, the current user or the id of a request or
            session out of the first system or developer message to the end of the last user message, under
            a heading; default False. They then have a user's authority. No other message is touched. In a
            conversation the caller's own history does not have these lines, so the next turn is known up to
            this one's question. As without shaping, an answer is served again only where the moved lines
            are equal: with one that changes with every request, such as a clock with seconds, nothing is
            hit, exactly or semantically, and moving is of use to the upstream's prefix cache alone. The
            moved lines are also in the question that is embedded, so that different questions look nearer
            to each other than without them: ask for a higher ``threshold``.
        patterns: what tells a volatile line: one of these is found in each of its sentences; None takes
            ``VOLATILE``. These stay in any case: lines of more than 300 characters or 16 words, lines that
            tell what to do (``never``, ``if``, ``use`` …), fenced code, every line from the first on that is
            or announces an example, and all of a message of more than 32 Ki characters.
        documents: sort ``documents`` by their hashes; default False, because their order may matter.
        watch: is shown every request as it is sent; where its prefix breaks, hooks get a ``PrefixBreak``.
            Default None.

    Raises:
        ConfigurationError: ``patterns`` holds something other than compiled patterns of text.
    """

    def __init__(
        self,
        *,
        tools: bool = True,
        volatile: bool = False,
        patterns: Sequence[re.Pattern[str]] | None = None,
        documents: bool = False,
        watch: PrefixWatch | None = None,
    ) -> None:
        own = VOLATILE if patterns is None else tuple(patterns)
        for pattern in own:
            if not (isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str)):
                raise ConfigurationError(f'patterns: expected re.compile("…"), got {type(pattern).__name__}')
        self._tools: Final = bool(tools)
        self._documents: Final = bool(documents)
        self._volatile: Final = own if volatile else ()
        self._watch: Final = watch
        told = json.dumps([[pattern.pattern, pattern.flags] for pattern in self._volatile])
        digest = sha256(told.encode()).hexdigest() if volatile else None
        self._options: Final = (SHAPE, self._tools, self._documents, digest)

    def shaped(self, request: Request) -> Request:
        """The request as it is keyed and sent; the very object for another dialect."""
        if request.dialect != _DIALECT:
            return request
        body = request.body
        moved: tuple[str, ...] = ()
        if isinstance(body, Mapping):
            body, moved = shaped_body(
                body, tools=self._tools, documents=self._documents, volatile=self._volatile
            )
        # In ASCII: a lone surrogate in a moved line is for the door behind to refuse.
        version = json.dumps((*self._options, moved, request.control.version))
        return replace(request, body=body, control=replace(request.control, version=version))

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        request = self.shaped(exchange.request)
        if request is exchange.request:
            return exchange
        if self._watch is not None and isinstance(request.body, Mapping):
            broken = self._watch.see(request.body, request.scope)
            if broken is not None:
                exchange.driver.emit(broken)
        return exchange.asking(request)
