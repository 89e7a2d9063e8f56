"""What the caller gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from asynccache._models import Candidate, Request, Response, Saved, Source
from asynccache._registry import find_dialect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asynccache._exchange import Exchange
    from asynccache._judging import Judgement
    from asynccache._keys import Fingerprint
    from asynccache._models import Entry, Scope
    from asynccache._protocols import Upstream

__all__ = ["AtHand", "Outcome", "Prices", "Walked", "addressed"]

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


def addressed(name: str, body: Mapping[str, Any], response: Response) -> Response:
    """An answer made for another request, as if made for this one; see ``Dialect.addressed``.

    Args:
        name: the dialect's.
        body: of the request it is to answer.
        response: the answer.
    """
    dialect = find_dialect(name)
    if not dialect.repeats:
        return response
    frames = tuple([dialect.addressed(body, frame) for frame in response.frames])
    return Response(dialect.addressed(body, response.body), frames)


class Outcome:
    """One answered request.

    The body is bytes; ``json()`` and ``text`` parse it when asked, once.
    """

    __slots__ = ("_json", "_prices", "body")

    body: bytes
    """The answer as JSON bytes, as the upstream sent it (or assembled from its stream)."""
    _json: Any
    _prices: Prices

    @property
    def request(self) -> Request:
        """What was asked, as the cache understood it."""
        raise NotImplementedError

    @property
    def source(self) -> Source:
        """Where the answer came from."""
        raise NotImplementedError

    @property
    def accepted(self) -> Candidate | None:
        """The stored answer that was served, and how near it was; None when not a hit."""
        raise NotImplementedError

    @property
    def judgement(self) -> Judgement | None:
        """What the semantic decision thought of the best candidate; None when it was not asked."""
        raise NotImplementedError

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why stored answers were refused, or why this one was not stored; empty when all went well."""
        raise NotImplementedError

    def json(self) -> Any:
        """The answer, parsed. Shared by later calls: copy it before changing it."""
        if self._json is None:
            self._json = orjson.loads(self.body)
        return self._json

    @property
    def text(self) -> str:
        """The first choice's text; "" when it has none (a tool call)."""
        return find_dialect(self.request.dialect).text(self.json())

    @property
    def hit(self) -> bool:
        """True when it was stored before; False when made for this request or one in flight with it."""
        return self.source.hit

    @property
    def similarity(self) -> float | None:
        """Cosine of the answered question to this one, 1.0 for an exact match; None when it was this one."""
        accepted, judgement = self.accepted, self.judgement
        if accepted is not None:
            return accepted.similarity
        shared = judgement is not None and self.source is Source.SHARED
        return judgement.candidate.similarity if judgement is not None and shared else None

    @property
    def age(self) -> float | None:
        """Seconds since the answer was made; None when not a hit."""
        accepted = self.accepted
        return None if accepted is None else accepted.age

    @property
    def entry(self) -> Entry | None:
        """What was stored, with the question it was stored for; None when not a hit."""
        accepted = self.accepted
        return None if accepted is None else accepted.entry

    @property
    def saved(self) -> Saved:
        """Tokens, seconds and money this hit spared; zeros when not a hit."""
        return _saved_by(self.entry, self.request.body.get("model"), self._prices)

    @property
    def key(self) -> bytes:
        """The request's exact key, 32 bytes; empty when the chain has no Normalize."""
        return self.request.key

    def __repr__(self) -> str:
        return f"<Outcome {self.source.value} {len(self.body)} bytes>"


class Walked(Outcome):
    """The outcome of a walk through the stages."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange, response: Response, prices: Prices) -> None:
        self.body = response.body
        self._json = None
        self._prices = prices
        self._exchange: Final = exchange

    @property
    def request(self) -> Request:
        return self._exchange.request

    @property
    def source(self) -> Source:
        return self._exchange.source or Source.UPSTREAM

    @property
    def accepted(self) -> Candidate | None:
        return self._exchange.accepted

    @property
    def judgement(self) -> Judgement | None:
        return self._exchange.judgement

    @property
    def reasons(self) -> tuple[str, ...]:
        return self._exchange.reasons


class AtHand(Outcome):
    """The outcome of a hit that was at hand: what an exchange would tell is made when somebody asks."""

    __slots__ = ("_age", "_asked", "_dialect", "_entry", "_found", "_scope", "_upstream")

    def __init__(  # noqa: PLR0917  (keywords would cost what this class saves)
        self,
        asked: Mapping[str, Any],
        scope: Scope,
        dialect: str,
        upstream: Upstream | None,
        found: Fingerprint,
        entry: Entry,
        age: float,
        body: bytes,
        prices: Prices,
    ) -> None:
        self.body = body
        self._json = None
        self._prices = prices
        self._asked: Final = asked
        self._dialect: Final = dialect
        self._scope: Final = scope
        self._upstream: Final = upstream
        self._found: Final = found
        self._entry: Final = entry
        self._age: Final = age

    @property
    def request(self) -> Request:
        found = self._found
        return Request(
            body=self._asked,
            dialect=self._dialect,
            scope=self._scope,
            key=found.key,
            partition=found.partition,
            question=found.question,
            upstream=self._upstream,
        )

    @property
    def source(self) -> Source:
        return Source.EXACT

    @property
    def accepted(self) -> Candidate:
        return Candidate(self._entry, Source.EXACT, self._age)

    @property
    def judgement(self) -> None:
        return None

    @property
    def reasons(self) -> tuple[str, ...]:
        return ()
