"""What the caller gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from asynccache._models import Response, Saved, Source
from asynccache._registry import find_dialect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asynccache._exchange import Exchange
    from asynccache._judging import Judgement
    from asynccache._models import Candidate, Entry, Request

__all__ = ["Outcome", "Prices", "addressed"]

Prices: TypeAlias = "Mapping[str, tuple[float, float]]"
"""Per million prompt tokens and per million completion tokens, by model; any currency."""


def _saved_by(entry: Entry | None, model: object, prices: Prices) -> Saved:
    """What a hit on ``entry`` spared: its tokens, its seconds, and their price where one is known."""
    if entry is None:
        return Saved()
    cost = entry.cost
    price = prices.get(model) if isinstance(model, str) else None
    money = None
    if price is not None:
        money = (cost.prompt_tokens * price[0] + cost.completion_tokens * price[1]) / 1_000_000
    return Saved(cost.prompt_tokens + cost.completion_tokens, cost.seconds, money)


def addressed(exchange: Exchange, response: Response) -> Response:
    """The answer to an exchange, as if it had been made for this very request; see ``Dialect.addressed``."""
    if exchange.source is Source.UPSTREAM:
        return response
    request = exchange.request
    dialect = find_dialect(request.dialect)
    if not dialect.repeats:
        return response
    frames = tuple([dialect.addressed(request.body, frame) for frame in response.frames])
    return Response(dialect.addressed(request.body, response.body), frames)


class Outcome:
    """One answered request.

    The body is bytes; ``json()`` and ``text`` parse it when asked, once.
    """

    __slots__ = ("_exchange", "_json", "_prices", "body")

    def __init__(self, exchange: Exchange, response: Response, prices: Prices) -> None:
        self._exchange: Final = exchange
        self._prices: Final = prices
        self.body: Final = response.body
        """The answer as JSON bytes, as the upstream sent it (or assembled from its stream)."""
        self._json: Any = None

    def json(self) -> Any:
        """The answer, parsed. Shared by later calls: copy it before changing it."""
        if self._json is None:
            self._json = orjson.loads(self.body)
        return self._json

    @property
    def text(self) -> str:
        """The first choice's text; "" when it has none (a tool call)."""
        return find_dialect(self._exchange.request.dialect).text(self.json())

    @property
    def source(self) -> Source:
        """Where the answer came from."""
        return self._exchange.source or Source.UPSTREAM

    @property
    def hit(self) -> bool:
        """True when it was stored before; False when made for this request or one in flight with it."""
        return self.source.hit

    @property
    def similarity(self) -> float | None:
        """Cosine of the answered question to this one, 1.0 for an exact match; None when it was this one."""
        accepted, judgement = self._exchange.accepted, self._exchange.judgement
        if accepted is not None:
            return accepted.similarity
        shared = judgement is not None and self.source is Source.SHARED
        return judgement.candidate.similarity if judgement is not None and shared else None

    @property
    def judgement(self) -> Judgement | None:
        """What the semantic decision thought of the best candidate; None when it was not asked."""
        return self._exchange.judgement

    @property
    def accepted(self) -> Candidate | None:
        """The stored answer that was served, and how near it was; None when not a hit."""
        return self._exchange.accepted

    @property
    def request(self) -> Request:
        """What was asked, as the cache understood it."""
        return self._exchange.request

    @property
    def age(self) -> float | None:
        """Seconds since the answer was made; None when not a hit."""
        accepted = self._exchange.accepted
        return None if accepted is None else accepted.age

    @property
    def entry(self) -> Entry | None:
        """What was stored, with the question it was stored for; None when not a hit."""
        accepted = self._exchange.accepted
        return None if accepted is None else accepted.entry

    @property
    def saved(self) -> Saved:
        """Tokens, seconds and money this hit spared; zeros when not a hit."""
        return _saved_by(self.entry, self._exchange.request.body.get("model"), self._prices)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why stored answers were refused, or why this one was not stored; empty when all went well."""
        return self._exchange.reasons

    @property
    def key(self) -> bytes:
        """The request's exact key, 32 bytes; empty when the chain has no Normalize."""
        return self._exchange.request.key

    def __repr__(self) -> str:
        return f"<Outcome {self.source.value} {len(self.body)} bytes>"
