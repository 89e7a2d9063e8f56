"""The pipeline: opens and closes a chain of stages, and turns requests into outcomes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

from asynccache._answer_stream import AnswerStream
from asynccache._chain import AnyEmbedder, AnyUpstream, Semantic, assembled
from asynccache._clock import SystemClock
from asynccache._config import load
from asynccache._corrections import correct
from asynccache._deciders import AnyDecision, DecisionOptions
from asynccache._driver import StageDriver
from asynccache._errors import (
    ConfigurationError,
    EmbedderError,
    ForeignError,
    InvalidRequest,
    NotCached,
    PipelineClosed,
    StageError,
)
from asynccache._events import SemanticTierChanged
from asynccache._exchange import Exchange
from asynccache._express import Express
from asynccache._lifespan import entered
from asynccache._models import (
    NO_CONTROL,
    NO_SCOPE,
    Consistency,
    Control,
    Mode,
    Request,
    Response,
    Scope,
    Source,
)
from asynccache._outcome import AtHand, Outcome, Prices, Walked, addressed
from asynccache._protocols import (
    AnswerEquivalence,
    Backend,
    Check,
    Clock,
    Decision,
    Hook,
    Instant,
    Stage,
    Taggable,
)
from asynccache._requests import ControlLike, Requests, ScopeLike
from asynccache._stats import Stats
from asynccache._turn import LoopTurn
from asynccache.stages.shape import PromptShaper
from asynccache.stages.threshold import LEAST

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["CachePipeline"]

_T = TypeVar("_T")

MOST_TWINS: Final = 100
"""Answers to near questions that one ``invalidate`` forgets."""


def _option(make: Callable[[], _T]) -> _T:
    """What a constructor's option makes, its faults told as the configuration's."""
    try:
        return make()
    except InvalidRequest as error:
        raise ConfigurationError(str(error)) from None


async def _ready(exchange: Exchange) -> Exchange:
    return exchange


class CachePipeline:
    """A cache in front of a language model; use it as ``async with CachePipeline(...) as cache``.

    Args:
        upstream: who makes the answers: a base URL with ``/v1`` (as openai's ``base_url``), an
            ``Upstream``, or any async callable that takes the request body and returns a
            chat-completion mapping or the answer as a ``str``. None, without ``stages``: only requests
            that bring their own (``Request.upstream``, as those through a ``CacheTransport``) are answered.
        stages: a chain of your own instead of the standard one; upstream and backend are then yours to
            put into it (``backend`` may still be given, for ``invalidate`` and ``flush``).
        backend: URL or ``Backend``; default a SQLite file in the user's cache directory, which all
            programs of that user share and which is therefore kept apart by upstream.
        api_key: for an upstream given as a URL; default None sends ``OPENAI_API_KEY`` to OpenAI only.
        default_model: model of requests that name none. Without it a URL upstream needs ``model=``.
        ttl: seconds an answer may be served; None never expires; 0 stores nothing. Default 3600.
        namespace: the ``Scope.namespace`` of requests that name none.
        scope_from: derives the scope of a request from its body, when the call gives none.
        prices: ``{model: (per million prompt tokens, per million completion tokens)}`` for ``saved.money``.
        hooks: called for every event. Default: failures of the cache are logged through structlog.
        strict: True raises failures of the cache instead of passing them over (for tests).
        decision: when the answer to a near question may be served. ``"promise"``, the default: when it is
            likely enough that no more than ``max_error`` of the semantic hits are wrong (see
            ``decision.PromisedDecision``); few are served until answers have taught it what is near.
            ``"shadow"`` decides and learns likewise, and serves nothing. ``"judge"`` asks a verifier where
            the promise refuses. ``"vcache"`` bounds errors among all requests, by entry.
            ``"threshold"`` serves from a least cosine on, which promises nothing. A ``Decision``, or a
            function of request and candidate that returns a reason to refuse, or None. None: the exact tier
            only. Without the packages of ``asynccache[semantic]``, or a model, the exact tier works alone.
        max_error: share of the semantic hits that may be wrong, above 0 and below 1. Default 0.02.
        guards: demanded of near questions on top of the decision: ``"numbers"``, ``"negation"``,
            ``"units"``, ``"entities"`` must agree; or checks of your own.
        audit: share of the semantic hits that the upstream is asked about again, behind the caller, to see
            whether they were right. Default 0; 0.02 is enough to see a change in what people ask.
        audits_per_minute: how many at most. Default 60.
        judge: tells whether two answers say the same; default ``decision.BuiltinJudge``, which compares
            them by values and by their embeddings. ``decision.LLMJudge`` asks a model where that is unsure.
        verifier: for ``decision="judge"``: an async function of the question, the stored question and its
            answer that says whether it answers both. Default: the upstream is asked.
        embedder: what makes vectors of questions: ``"default"`` (the model that comes with the package),
            another model's name or folder, an ``Embedder``, or an async function from texts to vectors.
        threshold: least cosine of a semantic hit, or one for each namespace; default 0.95.
        threshold_floor: how far down a request's ``control.threshold`` may go; None: not at all.
        max_index_bytes: memory for vectors, some 2 kB each; the partitions least recently asked about
            leave it. Default 2 GiB.
        history: what of a conversation must be equal for a semantic hit: ``"equal"`` (all of it),
            ``"last:n"`` (the instructions and the n messages before the question) or ``"ignore"``
            (the instructions only).
        abandoned: what happens to an upstream call nobody waits for any more: ``"close"`` or ``"finish"``.
        max_request_bytes: largest request body, in bytes of JSON. Default 16 MiB.
        consistency: what of the changes that other processes make to a store they share is seen.
            ``"eventual"``, the default: a memory in front of the store is told of them, some milliseconds
            after the fact with Redis, up to a second with SQLite; while the store cannot be reached it
            serves on for at most its ``memory_ttl``. ``"strong"``: nothing is served or shared that was
            replaced or removed before the request came, for a round trip to the store on every hit; when
            that fails, the upstream is asked. A request may say otherwise (``control.consistency``). With a
            store that no feed tells of, it makes no difference.
        shaper: brings requests into the order in which the upstream's prefix cache can know them.
        clock: time, for tests.

    Raises:
        ConfigurationError: naming the option that cannot work.
    """

    def __init__(
        self,
        upstream: AnyUpstream | None = None,
        *,
        stages: Sequence[Stage] | None = None,
        backend: str | Backend | None = None,
        api_key: str | None = None,
        default_model: str | None = None,
        ttl: float | None = 3600,
        namespace: str | None = None,
        scope_from: Callable[[Mapping[str, Any]], ScopeLike] | None = None,
        prices: Prices | None = None,
        hooks: Iterable[Hook] = (),
        strict: bool = False,
        decision: AnyDecision = "promise",
        max_error: float = 0.02,
        guards: Iterable[str | Check] = (),
        audit: float = 0.0,
        audits_per_minute: int = 60,
        judge: AnswerEquivalence | None = None,
        verifier: Callable[..., Any] | None = None,
        embedder: AnyEmbedder = "default",
        threshold: float | Mapping[str | None, float] = LEAST,
        threshold_floor: float | None = None,
        max_index_bytes: int = 2 * 2**30,
        history: str = "equal",
        abandoned: Literal["close", "finish"] = "close",
        max_request_bytes: int = 16 * 2**20,
        consistency: Consistency = "eventual",
        shaper: PromptShaper | None = None,
        clock: Clock | None = None,
    ) -> None:
        clock = SystemClock() if clock is None else clock
        self._prices: Final = dict(prices or {})
        parts = assembled(
            upstream,
            stages=stages,
            backend=backend,
            api_key=api_key,
            embedder=embedder,
            deciding=DecisionOptions(
                decision=decision,
                max_error=max_error,
                threshold=threshold,
                threshold_floor=threshold_floor,
                guards=tuple(guards),
                audit=audit,
                audits_per_minute=audits_per_minute,
                judge=judge,
                verifier=verifier,
                model=default_model,
            ),
            max_index_bytes=max_index_bytes,
            history=history,
            abandoned=abandoned,
            max_request_bytes=max_request_bytes,
            consistency=consistency,
            shaper=shaper,
            clock=clock,
        )
        self._shaper: Final = shaper
        self._backend: Final = parts.backend
        self._keyring: Final = parts.keyring
        self._chain: Final = parts.chain
        self._semantic: Final = parts.semantic
        self._requests: Final = Requests(
            default_model=default_model,
            needs_model=isinstance(upstream, str),
            scope=NO_SCOPE if namespace is None else _option(lambda: Scope(namespace=namespace)),
            scope_from=scope_from,
        )
        self._driver: Final = StageDriver(
            clock=clock,
            ttl=_option(lambda: Control(ttl=ttl)).ttl,
            strict=strict,
            hooks=tuple(hooks),
            consistency=consistency,
        )
        # There is no short way where every hit is to be confirmed, nor where requests are shaped first.
        short = stages is None and consistency == "eventual" and shaper is None
        self._express: Final = (
            Express(self._keyring, self._backend, self._driver, self._prices)
            if short and isinstance(self._backend, Instant)
            else None
        )
        self._turn: Final = LoopTurn()
        self._opened: AsyncExitStack | None = None
        self._opening = False
        self._loop: asyncio.AbstractEventLoop | None = None  # in which it was opened

    @classmethod
    def configured(cls, path: str | os.PathLike[str] | None = None, /, **overrides: Any) -> Self:
        """A pipeline from a TOML file and ``ASYNCCACHE_*`` variables.

        Args:
            path: the file; None takes ``ASYNCCACHE_CONFIG``, else ``asynccache.toml`` in the working
                directory if there is one.
            overrides: arguments of the constructor; they win over variables, and variables over the file.

        Raises:
            ConfigurationError: naming the option and where it was given.
        """
        return cls(**load(path, os.environ, overrides))

    @property
    def is_open(self) -> bool:
        """Whether it has been entered, and not left."""
        return self._opened is not None

    async def __aenter__(self) -> Self:
        if self._opened is not None or self._opening:
            raise PipelineClosed("this pipeline is open already; share it, or make a second one")
        self._opening = True
        try:
            stack = AsyncExitStack()
            await stack.enter_async_context(entered(self._backend, *self._chain.stages))
        finally:
            self._opening = False
        if isinstance(self._semantic, EmbedderError):
            self._driver.emit(SemanticTierChanged(self._semantic))
        self._opened, self._loop = stack, asyncio.get_running_loop()
        if self._express is not None:
            self._express.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._express is not None:
            self._express.close()
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()

    async def ask(
        self,
        question: str,
        /,
        *,
        system: str | None = None,
        model: str | None = None,
        scope: ScopeLike = None,
        control: ControlLike = None,
        **params: Any,
    ) -> Outcome:
        """Ask one question.

        Args:
            question: the user message.
            system: the system message, or None for none.
            model: default ``default_model``.
            scope: whose question it is.
            control: what it asks of the cache.
            params: further body fields (``temperature=0`` …).

        Raises:
            InvalidRequest: naming the field.
            UpstreamError: as the upstream raised it; a callable's own exceptions likewise.
        """
        if not isinstance(question, str):
            raise InvalidRequest("question", f"expected a string, got {type(question).__name__}")
        messages: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]
        messages.append({"role": "user", "content": question})
        return await self.chat(messages=messages, model=model, scope=scope, control=control, **params)

    async def chat(self, /, *, scope: ScopeLike = None, control: ControlLike = None, **body: Any) -> Outcome:
        """Ask with a chat-completions body: every keyword but ``scope`` and ``control`` is a field of it.

        Raises:
            InvalidRequest: naming the field.
            UpstreamError: as the upstream raised it; a callable's own exceptions likewise.
        """
        if body.get("stream"):
            raise InvalidRequest("stream", "for a streamed answer use `async with cache.stream(...)`")
        asked, owner = self._requests.plain(body, scope)
        express = self._express
        hit = None if express is None or control is not None else express.hit("fetch", asked, owner)
        if hit is None:
            return await self._walked(self._requests(asked, owner, control))
        if self._turn.due():
            await asyncio.sleep(0)
        return hit

    async def fetch(
        self,
        request: Request | Mapping[str, Any],
        /,
        *,
        scope: ScopeLike = None,
        control: ControlLike = None,
    ) -> Outcome:
        """The whole answer to a request, or to a chat-completions body.

        Raises:
            InvalidRequest: naming the field.
            UpstreamError: as the upstream raised it; a callable's own exceptions likewise.
            NotCached: ``only_if_cached`` was asked for and nothing stored may be served.
        """
        asked = self._requests(request, scope, control)
        hit = self._hit(asked, "fetch")
        if hit is None:
            return await self._walked(asked)
        if self._turn.due():
            await asyncio.sleep(0)
        return hit

    async def _walked(self, request: Request) -> Outcome:
        exchange = await self._walk(request, "fetch")
        answer = exchange.answer
        if isinstance(answer, Response):
            if exchange.source is not Source.UPSTREAM:
                answer = addressed(request.dialect, exchange.request.body, answer)
            outcome = self._outcome(exchange, answer)
        else:
            async with AnswerStream(lambda: _ready(exchange), self._outcome, self._turn) as stream:
                outcome = await stream.collect()
        if self._turn.due():
            await asyncio.sleep(0)
        return outcome

    def stream(
        self,
        request: Request | Mapping[str, Any] | None = None,
        /,
        *,
        scope: ScopeLike = None,
        control: ControlLike = None,
        **body: Any,
    ) -> AnswerStream:
        """The answer as it arrives: ``async with cache.stream(...) as stream: async for chunk in stream``.

        Takes a request, a body, or the body's fields as keywords. The errors are ``fetch``'s.
        """
        if request is not None and body:
            raise InvalidRequest("request", "give either a request or the body's fields as keywords")
        asked = self._requests(body if request is None else request, scope, control)
        return AnswerStream(lambda: self._stream(asked), self._outcome, self._turn)

    async def _stream(self, request: Request) -> Exchange:
        started = self._driver.clock.monotonic()
        hit = self._hit(request, "stream")
        if hit is None:
            return await self._walk(request, "stream")
        return Exchange.answered(hit.request, "stream", self._driver, started, hit.accepted)

    def _outcome(self, exchange: Exchange, response: Response) -> Outcome:
        return Walked(exchange, response, self._prices)

    def _hit(self, request: Request, mode: Mode) -> AtHand | None:
        if self._express is None or request.control is not NO_CONTROL:
            return None
        return self._express.hit(mode, request.body, request.scope, request.dialect, request.upstream)

    async def _walk(self, request: Request, mode: Mode) -> Exchange:
        if self._opened is None:
            raise PipelineClosed("use `async with CachePipeline(...) as cache:`, and ask inside it")
        if asyncio.get_running_loop() is not self._loop:
            raise PipelineClosed("this pipeline is open in another event loop; open one in each")
        driver = self._driver
        started = driver.clock.monotonic()
        try:
            exchange = await driver.run(Exchange(request, mode, driver, started), self._chain.stages)
            if exchange.answer is None:
                if request.control.only_if_cached:
                    raise NotCached("no stored answer may be served, and only_if_cached was asked for")
                raise StageError("no stage answered the request: the chain needs a MissHandler(upstream)")
        except Exception as error:  # noqa: BLE001  (raised again below)
            seen = error.error if isinstance(error, ForeignError) else error
            driver.failed(seen, mode, started)
            failure = seen
        else:
            driver.served(exchange, mode, started)
            return exchange
        try:
            raise failure  # outside the handler, so that the error is the upstream's own, unchanged
        finally:
            del failure, seen  # an error and the frame it names would keep each other alive

    async def invalidate(
        self,
        request: Request | Mapping[str, Any] | None = None,
        /,
        *,
        tags: Collection[str] = (),
        scope: ScopeLike = None,
        control: ControlLike = None,
    ) -> int:
        """Forget the answer to a request (or chat-completions body), or every entry carrying a tag.

        Of a request with several inputs (embeddings), the answer to each is forgotten. With a semantic tier,
        the answers to near questions that would be served in its place are forgotten with it.

        Answers that this pipeline's upstream is making at this moment are neither stored nor shared with
        later requests. Those that other pipelines on the same store are making are not stored either, where
        the store has a feed; elsewhere they may be.

        Returns:
            How many entries were removed.

        Raises:
            BackendError: the store could not be changed; entries may still be there.
        """
        if (request is None) == (not tags) or isinstance(tags, str):
            raise InvalidRequest("tags", "give either a request or a collection of tags")
        backend = self._store()
        self._driver.generation += 1
        if request is None:
            if not isinstance(backend, Taggable):
                raise ConfigurationError(f"backend: {type(backend).__name__} does not find entries by tag")
            return await backend.delete_tagged(tags)
        asked = self._requests(request, scope, control)
        if self._shaper is not None:
            asked = self._shaper.shaped(asked)
        keys = self._keyring.keys(asked)
        entry = await backend.get(keys[0])
        alias = None if entry is None else entry.alias
        removed = await backend.delete(keys if alias is None else [*keys, alias.of])
        for _ in range(MOST_TWINS if self._chain.semantic else 0):
            exchange = Exchange(asked, "fetch", self._driver, self._driver.clock.monotonic())
            twin = (await self._driver.run(exchange, self._chain.semantic)).accepted
            if twin is None:
                break
            doomed = (twin.entry.key,) if twin.via is None else (twin.entry.key, twin.via)
            removed += await backend.delete(doomed)
        return removed

    async def reject(self, outcome: Outcome, /) -> bool:
        """Say that an answer was wrong.

        The answer to a near question is never served to this one again, and the decision learns from it;
        twice rejected, it is served to its own question alone. Any other answer is forgotten, if it is
        stored.

        Returns:
            Whether there was anything to learn or to forget.

        Raises:
            BackendError: the store could not be changed.
        """
        return await correct(outcome, self._store(), self._decision(), self._keyring, same=False)

    async def accept(self, outcome: Outcome, /) -> bool:
        """Say that an answer was right.

        That to a near question teaches the decision, and takes an earlier rejection back. Of other answers
        there is nothing to learn.

        Returns:
            Whether there was anything to learn.

        Raises:
            BackendError: the store could not be changed.
        """
        return await correct(outcome, self._store(), self._decision(), self._keyring, same=True)

    def _decision(self) -> Decision | None:
        return self._semantic.deciding.decision if isinstance(self._semantic, Semantic) else None

    async def flush(self) -> None:
        """Wait until all that is done behind requests is done and stored, and found by every lookup."""
        index = self._semantic.index if isinstance(self._semantic, Semantic) else None
        for part in (*self._chain.stages, self._decision(), self._backend, index):
            flush = getattr(part, "flush", None)
            if flush is not None:
                await flush()

    def stats(self) -> Stats:
        """The counters since the pipeline was made."""
        return Stats.of(self._driver.counts, self._decision())

    def _store(self) -> Backend:
        if self._opened is None:
            raise PipelineClosed("use `async with CachePipeline(...) as cache:`")
        if self._backend is None:
            raise ConfigurationError("backend: with stages=[…], give the pipeline backend= as well for this")
        return self._backend
