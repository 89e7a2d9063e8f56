"""The semantic decision that keeps a promise: no more than a share of its hits is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio
import numpy as np
import orjson
from anyio import to_thread

from asynccache._clock import SystemClock
from asynccache._errors import ConfigurationError
from asynccache._events import PromiseChanged
from asynccache._judging import Account, Judgement, Ruling
from asynccache._lifespan import SharedLifespan, entered
from asynccache._lru import LRU
from asynccache.decision._fairness import Fairness
from asynccache.decision._label_feed import LabelFeed
from asynccache.decision._local import Around, around
from asynccache.decision._sentences import says_more
from asynccache.decision.knowledge import Knowledge
from asynccache.decision.language import foreign
from asynccache.decision.pair_score import PairScore
from asynccache.decision.prepared import Prepared, prepare
from asynccache.decision.promise import CLOSED, Prior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from asynccache._exchange import Exchange
    from asynccache._judging import LabelKind
    from asynccache._models import Candidate, Embedding, Request, Scope
    from asynccache._protocols import Backend, Clock, Driver

__all__ = ["PRIOR", "PromisedDecision"]

LOWEST: Final = 0.6
"""Cosine below which nothing is worth a look."""
NEIGHBOURS: Final = 16
ON_LOOP: Final = 2000
"""Characters, of all questions together, read on the event loop; more would hold it for milliseconds."""
PREPARED: Final = 4096
"""Stored questions kept ready, some 4 kB each."""
SURE: Final = 5.0
"""Log odds of what was beyond doubt when its alias was made."""
FOREIGN: Final = "not in a language the decision knows"
TELLING: Final = 0.5
"""Log odds by which a limit must have moved to be told of."""

PRIOR: Final = Prior(slope=1.43, intercept=-0.27, weight=4000.0, bend=1.2)
"""Of the shipped weights, on the stream they were chosen with (``benchmarks/bench_decision.py``): 16,588
questions of four kinds, a tenth of them minimal edits of others."""


class _Scored(NamedTuple):
    """The candidates' scores, and their texts as read."""

    scores: NDArray[np.float64] | None
    """None: one of the texts is in a language that the score does not understand."""
    texts: list[Prepared]
    best: int = 0
    """Which is likeliest."""
    more: bool = False
    """Whether that one asks for more than the question, or the question for more than it."""
    alone: bool = False
    """Whether its score is of the texts alone: its vector is not known."""


class PromisedDecision:
    """Serves a near question's answer when the odds that it is right keep the promise.

    A pair of questions gets a score (log odds) from the two texts and their cosine. It is calibrated by what
    is known of the questions around: whether proposed answers were right there, and how many of them share
    this one. Every miss that had a candidate teaches: was the fresh answer the candidate's? From these
    labels, and from what is known before, comes the least calibrated score at which no more than
    ``max_error`` of the hits are wrong, for each ``Scope.namespace``. Where none keeps the promise, nothing
    is served, and hooks are told (``PromiseChanged``). Labels are kept by a backend that has the capability
    ``Labels`` and are shared with all that use it.

    Text in languages that the score does not understand is refused.

    Args:
        backend: keeps the labels; opened and closed with the pipeline. None: they live with the process.
        max_error: share of the semantic hits that may be wrong, above 0 and below 1; default 0.02.
        shadow: True decides and learns, and never serves: to see before switching on.
        prior: what is expected of the score before anything is known.
        clock: stamps labels.

    Raises:
        ConfigurationError: ``max_error`` is no such share.
    """

    def __init__(
        self,
        backend: Backend | None = None,
        *,
        max_error: float = 0.02,
        shadow: bool = False,
        prior: Prior = PRIOR,
        clock: Clock | None = None,
    ) -> None:
        if isinstance(max_error, bool) or not isinstance(max_error, (int, float)) or not 0 < max_error < 1:
            raise ConfigurationError(
                f"max_error={max_error!r}: expected a share above 0 and below 1, as 0.02 for two wrong in a "
                "hundred semantic hits"
            )
        self.lowest: Final = LOWEST
        self.neighbours: Final = NEIGHBOURS
        self._max_error: Final = max_error
        self._shadow: Final = shadow
        self._clock: Final = SystemClock() if clock is None else clock
        self._knowledge: Final = Knowledge(prior)
        self._feed: Final = LabelFeed(backend, self._knowledge.take)
        self._scores: Final[dict[bytes, PairScore]] = {}  # by space; as many as embedders were used
        self._prepared: Final = LRU[bytes, Prepared](max_items=PREPARED, max_weight=PREPARED)
        self._families: Final[dict[tuple[str | None, str | None], bytes]] = {}
        self._fair: Final = Fairness()
        self._told: Final[dict[bytes, float]] = {}  # the limits that hooks know of, by family
        self._version = b""  # of the score last used
        # Of its own, so that a long question never waits for somebody else's work.
        self._threads: Final = anyio.CapacityLimiter(1)
        self._lifespan: Final = SharedLifespan(self._opening)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Read what is known, and keep what is learnt."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        async with entered(self._feed):
            # The files are read now rather than while the first question waits. One that cannot be read
            # is told with each question, which goes on without the semantic tier.
            with suppress(Exception):
                await to_thread.run_sync(_warm_up, limiter=self._threads)
            yield

    async def flush(self) -> None:
        """Wait until what was learnt is stored."""
        await self._feed.flush()

    def account(self) -> Account:
        if not self._version:
            return Account(0, None, {})
        lessons = self._knowledge.lessons(self._version)
        limits: dict[str | None, float] = {}
        for (namespace, _), family in self._families.items():
            limit = lessons.promise.limit(family, self._max_error)
            limits[namespace] = max(limit, limits.get(namespace, limit))
        return Account(lessons.labels, lessons.promise.estimate(), limits)

    async def rule(self, exchange: Exchange, candidates: Sequence[Candidate], /) -> Ruling:
        request = exchange.request
        question = request.question
        if question is None:
            return Ruling(None, ("no question to compare",) * len(candidates))
        if not self._feed.caught_up:
            self._feed.tell_trouble(exchange.driver)
            return Ruling(None, ("what is known is still being read",) * len(candidates))
        barred = self._barred(request, candidates)
        open_ = [each for each, reason in zip(candidates, barred, strict=True) if reason is None]
        texts = [each.entry.question or "" for each in open_]
        if not open_:
            return Ruling(None, tuple(reason or "" for reason in barred))
        if exchange.embedding is None:
            return self._by_alias(exchange, open_[0], barred)
        score = await self._score_of(exchange.embedding.space)
        # All that others may change meanwhile is read here; a thread only calculates.
        known = [self._prepared.get(each.entry.key, 0.0) for each in open_]
        work = partial(_scored, exchange, exchange.embedding, score, question, open_, known)
        if len(question) + sum(map(len, texts)) <= ON_LOOP:
            scored = work()
        else:
            scored = await to_thread.run_sync(work, limiter=self._threads)
        for each, text in zip(open_, scored.texts, strict=True):
            self._prepared.put(each.entry.key, text, weight=1, until=float("inf"), now=0.0)
        if scored.scores is None:
            return Ruling(None, tuple(each or FOREIGN for each in barred))
        best = open_[scored.best]
        likely = float(scored.scores[scored.best])
        known_around = self._around(exchange, open_, best, score.version)
        if scored.alone:  # no calibration was learnt for that
            calibrated = likely + known_around.shift
        else:
            calibrated = score.calibrated(likely, best.similarity, known_around)
        judgement = Judgement(best, likely, calibrated, self._limit(exchange), score.version)
        refused = self._refusal(exchange, judgement, more=scored.more)
        if refused is None:
            others = (
                other or "another candidate is likelier"
                for other, each in zip(barred, candidates, strict=True)
                if each is not judgement.candidate
            )
            return Ruling(judgement.candidate, tuple(others), judgement)
        return Ruling(None, tuple(each or refused for each in barred), judgement)

    def nearest(self, vector: bytes, others: Sequence[bytes], k: int) -> list[tuple[int, float]]:
        rows = np.frombuffer(b"".join(others), dtype="<f4").reshape(len(others), -1)
        cosines = rows @ np.frombuffer(vector, dtype="<f4")
        best = np.argsort(-cosines, kind="stable")[:k].tolist()
        return [(at, min(1.0, float(cosines[at]))) for at in best if cosines[at] >= LOWEST]

    def learn(
        self,
        request: Request,
        judgement: Judgement,
        *,
        same: bool,
        kind: LabelKind,
        missed: float = 0.0,
        accepted: float = 0.0,
    ) -> None:
        if not self._fair.allows(request.scope):
            missed = accepted = 0.5  # as a coin would say: it is kept, and tells nobody anything
        label = self._feed.label(
            request,
            judgement,
            family=self._family(request.scope),
            same=same,
            kind=kind,
            missed=missed,
            accepted=accepted,
            at=self._clock.now(),
        )
        self._knowledge.take(label)
        self._feed.publish(label)

    def _barred(self, request: Request, candidates: Sequence[Candidate]) -> list[str | None]:
        """Why candidates are out of the question, in their order; None for those that are not."""
        rejections = self._knowledge.rejections
        rejected = [rejections.holds(request.key, each.entry.key) for each in candidates]
        if self._version and any(rejected):  # and whatever is known to give the same answer
            keys = [each.entry.key for each in candidates]
            groups = self._knowledge.lessons(self._version).known(keys).groups.tolist()
            out = {group for group, bad in zip(groups, rejected, strict=True) if bad}
            rejected = [group in out for group in groups]
        return [
            "rejected before"
            if bad
            else "found wrong for other questions"
            if rejections.quarantined(each.entry.key)
            else None
            for each, bad in zip(candidates, rejected, strict=True)
        ]

    def _by_alias(self, exchange: Exchange, candidate: Candidate, barred: Sequence[str | None]) -> Ruling:
        """Of a question that was asked before in the same words, and answered beyond doubt."""
        if not self._version:  # nothing is known of the score yet: the long way decides
            return Ruling(None, tuple(each or "not decided yet" for each in barred))
        judgement = Judgement(candidate, SURE, SURE, self._limit(exchange), self._version)
        refused = self._refusal(exchange, judgement)
        if refused is None:
            return Ruling(candidate, (), judgement)
        return Ruling(None, tuple(each or refused for each in barred), judgement)

    async def _score_of(self, space: bytes) -> PairScore:
        score = self._scores.get(space)
        if score is None:
            score = await to_thread.run_sync(PairScore.load, space, limiter=self._threads)
            self._scores[space] = score
        self._version = score.version
        return score

    def _around(
        self, exchange: Exchange, candidates: Sequence[Candidate], best: Candidate, version: bytes
    ) -> Around:
        """What the labels of the questions around say with regard to the best candidate."""
        own = exchange.request.key
        near = {each.key: each.similarity for each in exchange.neighbours if each.key != own}
        for each in candidates:  # whose neighbours nobody looked for, or that only an alias was near to
            near.setdefault(each.entry.key, each.similarity)
        places = {key: at for at, key in enumerate(near)}
        known = self._knowledge.lessons(version).known(list(near))
        for each in candidates:
            if each.via in places:  # an alias is of its answer's group; others not read vote for themselves
                known.groups[places[each.via]] = known.groups[places[each.entry.key]]
        return around(np.array(list(near.values())), known, places[best.entry.key])

    def _limit(self, exchange: Exchange) -> float:
        request = exchange.request
        asked = request.control.max_error
        max_error = self._max_error if asked is None else min(asked, self._max_error)
        if not max_error:
            return CLOSED
        family = self._family(request.scope)
        limit = self._knowledge.lessons(self._version).promise.limit(family, max_error)
        if max_error == self._max_error:
            self._tell(exchange.driver, family, limit)
        return limit

    def _refusal(self, exchange: Exchange, judgement: Judgement, *, more: bool = False) -> str | None:
        served = judgement.calibrated >= judgement.limit and not more
        scope = exchange.request.scope
        if self._fair.allows(scope):
            promise = self._knowledge.lessons(judgement.version).promise
            promise.see(self._family(scope), judgement.calibrated, served=served and not self._shadow)
        if served:
            return "shadow: it would have been served" if self._shadow else None
        if more:
            return "one of the questions asks for more than the other"
        if judgement.limit == CLOSED:
            return "max_error cannot be kept: the semantic tier is closed"
        return "not sure enough for max_error"

    def _family(self, scope: Scope) -> bytes:
        """Whose promise it is: a tenant's questions must not make the cache bolder with another's."""
        known = (scope.namespace, scope.tenant)
        family = self._families.get(known)
        if family is None:
            family = sha256(orjson.dumps(("family", *known))).digest()[:16]
            if len(self._families) < PREPARED:
                self._families[known] = family
        return family

    def _tell(self, driver: Driver, family: bytes, limit: float) -> None:
        told = self._told.get(family)
        if told is not None and (told == limit or abs(told - limit) < TELLING):
            return
        if told is None and len(self._told) >= PREPARED:
            return
        self._told[family] = limit
        if told is not None or limit == CLOSED:
            driver.emit(PromiseChanged(family.hex()[:8], None if limit == CLOSED else limit))


def _scored(  # noqa: PLR0917  (a partial gives them all)
    exchange: Exchange,
    embedding: Embedding,
    score: PairScore,
    question: str,
    candidates: Sequence[Candidate],
    known: Sequence[Prepared | None],
) -> _Scored:
    asked = prepare(question)
    texts = [
        prepare(each.entry.question or "") if text is None else text
        for text, each in zip(known, candidates, strict=True)
    ]
    if foreign(asked) or any(map(foreign, texts)):
        return _Scored(None, texts)
    vectors = {each.key: _vector(each.vector) for each in exchange.neighbours if each.vector is not None}
    pairs = [
        (text, vectors.get(each.entry.key), each.similarity)
        for text, each in zip(texts, candidates, strict=True)
    ]
    scores = score(asked, _vector(embedding.vector), pairs)
    best = int(np.argmax(scores))
    more = says_more(question, texts[best]) or says_more(candidates[best].entry.question or "", asked)
    return _Scored(scores, texts, best, more, pairs[best][1] is None)


def _vector(stored: bytes) -> NDArray[np.float32]:
    return np.frombuffer(stored, dtype="<f4").astype(np.float32, copy=False)


def _warm_up() -> None:
    PairScore.load()
    prepare("What is a cache?")
