"""When a second opinion is asked for, and what becomes of it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Any, cast

import anyio
import anyio.lowlevel
import orjson
import pytest

from asynccache import Candidate, ConfigurationError, Control, Request, Response, Source
from asynccache._exchange import Exchange
from asynccache._judging import Judgement, Ruling
from asynccache._protocols import Decision, Learning
from asynccache.decision.verifier import VerifiedDecision
from asynccache.testing import cancel_at_every_step, make_entry

pytestmark = pytest.mark.anyio

VERSION = b"v" * 16


def near(number: int, *, question: str | None = "stored?", body: bytes | None = None) -> Candidate:
    document = {"choices": [{"message": {"role": "assistant", "content": f"answer {number}"}}]}
    response = Response(orjson.dumps(document) if body is None else body)
    entry = make_entry(number, created_at=0.0, question=question, response=response)
    return Candidate(entry, Source.SEMANTIC, 0.0, 0.9)


def exchange(question: str | None = "asked?", **control: Any) -> Exchange:
    request = Request(body={}, control=Control(**control)).identified(b"k" * 32, b"p" * 32, question)
    return Exchange(request, "fetch", cast("Any", None), 0.0)


class Inner:
    """Refuses every candidate, and judges the one it is told to as it is told to."""

    lowest = 0.25
    neighbours = 7

    def __init__(
        self, calibrated: float | None, *, limit: float = 1.2, accepts: bool = False, best: int = 0
    ) -> None:
        self.calibrated = calibrated
        self.limit = limit
        self.accepts = accepts
        self.best = best
        self.open = False
        self.learnt: list[bool] = []

    async def rule(self, exchange: Exchange, candidates: Sequence[Candidate], /) -> Ruling:
        best = candidates[self.best]
        judgement = None
        if self.calibrated is not None:
            judgement = Judgement(best, 0.0, self.calibrated, self.limit, VERSION)
        if self.accepts:
            return Ruling(best, (), judgement)
        return Ruling(None, tuple(f"refusal {each}" for each in range(len(candidates))), judgement)

    def learn(self, *_: Any, same: bool, **__: Any) -> None:
        self.learnt.append(same)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self.open = True
        yield
        self.open = False


class Says:
    """A verifier that says what it is told to, once it may."""

    def __init__(self, verdict: bool | BaseException | None, trouble: str | None = None) -> None:
        self.verdict = verdict
        self.trouble = trouble
        self.asked: list[tuple[str, str, str]] = []
        self.gate = anyio.Event()
        self.gate.set()
        self.open = False

    async def __call__(self, *texts: str) -> bool | None:
        self.asked.append(cast("tuple[str, str, str]", texts))
        await self.gate.wait()
        if isinstance(self.verdict, BaseException):
            raise self.verdict
        return self.verdict

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self.open = True
        yield
        self.open = False


async def test_what_the_verifier_confirms_is_served() -> None:
    verify = Says(verdict=True)
    candidates = [near(0), near(1), near(2)]
    ruling = await VerifiedDecision(Inner(0.5, best=1), verify).rule(exchange(), candidates)
    assert ruling.accepted is candidates[1]
    assert ruling.reasons == ("refusal 0", "refusal 2")
    assert ruling.judgement == Judgement(candidates[1], 0.0, 0.5, 1.2, VERSION)
    assert verify.asked == [("asked?", "stored?", "answer 1")]


@pytest.mark.parametrize(
    ("verdict", "trouble", "reason"),
    [
        (False, None, "the verifier refused"),
        (None, None, "the verifier could not tell"),
        (None, "no model", "the verifier could not tell: no model"),
        (RuntimeError("asked?"), None, "the verifier failed (RuntimeError)"),
        (asyncio.CancelledError(), None, "the verifier failed (CancelledError)"),
    ],
)
async def test_anything_but_yes_is_a_refusal_of_the_judged_candidate(
    verdict: bool | BaseException | None, trouble: str | None, reason: str
) -> None:
    decision = VerifiedDecision(Inner(0.5, best=1), Says(verdict, trouble))
    ruling = await decision.rule(exchange(), [near(0), near(1)])
    assert ruling.accepted is None
    assert ruling.reasons == ("refusal 0", reason)
    assert ruling.judgement is not None


async def test_truthy_verdict_is_no_yes() -> None:
    decision = VerifiedDecision(Inner(0.5), Says(cast("Any", "no")))
    assert (await decision.rule(exchange(), [near(0)])).accepted is None


@pytest.mark.parametrize(
    ("inner", "grey", "asked"),
    [
        (Inner(-1.0), (-1.0, None), True),
        (Inner(-1.1), (-1.0, None), False),
        (Inner(1.19), (-1.0, None), True),
        (Inner(1.2), (-1.0, None), False),
        (Inner(0.6), (0.5, 0.6), False),
        (Inner(0.5), (0.5, 0.6), True),
        (Inner(1.3), (-1.0, 5.0), False),
        (Inner(0.5, limit=inf), (-1.0, None), False),
        (Inner(0.5, limit=inf), (-1.0, 1.0), False),
        (Inner(None), (-1.0, None), False),
        (Inner(0.5, accepts=True), (-1.0, None), False),
    ],
)
async def test_verifier_is_asked_in_the_grey_zone_alone(
    inner: Inner, grey: tuple[float, float | None], asked: bool
) -> None:
    verify = Says(verdict=True)
    await VerifiedDecision(inner, verify, grey=grey).rule(exchange(), [near(0)])
    assert bool(verify.asked) is asked


async def test_request_without_semantic_hits_asks_nobody() -> None:
    verify = Says(verdict=True)
    ruling = await VerifiedDecision(Inner(0.5), verify).rule(exchange(max_error=0), [near(0)])
    assert (ruling.accepted, verify.asked) == (None, [])


async def test_question_without_text_asks_nobody() -> None:
    verify = Says(verdict=True)
    decision = VerifiedDecision(Inner(0.5), verify)
    assert (await decision.rule(exchange(None), [near(0)])).accepted is None
    assert (await decision.rule(exchange(), [near(0, question=None)])).accepted is None
    assert verify.asked == []


async def test_stored_answer_that_is_no_document_is_a_refusal() -> None:
    decision = VerifiedDecision(Inner(0.5), Says(verdict=True))
    ruling = await decision.rule(exchange(), [near(0, body=b"{")])
    assert ruling.reasons == ("the verifier failed (JSONDecodeError)",)


async def test_slow_verifier_is_given_up_and_cancelled() -> None:
    ended = anyio.Event()

    async def verify(*_: str) -> bool:
        try:
            await anyio.sleep(60)
        finally:
            ended.set()
        return True

    decision = VerifiedDecision(Inner(0.5), verify, timeout=0.01)
    with anyio.fail_after(5):
        ruling = await decision.rule(exchange(), [near(0)])
        assert ruling.reasons == ("the verifier took too long",)
        await ended.wait()


async def stubborn(release: anyio.Event, *_: str) -> bool:
    while not release.is_set():
        try:
            await release.wait()
        except asyncio.CancelledError:
            continue
    return True


async def test_verifier_that_cannot_be_cancelled_holds_nobody_up_and_keeps_its_place() -> None:
    release = anyio.Event()
    decision = VerifiedDecision(
        Inner(0.5), lambda *texts: stubborn(release, *texts), timeout=0.01, most_pending=2
    )
    with anyio.fail_after(5):
        async with decision.lifespan():
            reasons = [(await decision.rule(exchange(), [near(0)])).reasons[0] for _ in range(4)]
            assert reasons == ["the verifier took too long"] * 2 + ["the verifier is busy"] * 2
            release.set()
            while decision._pending:
                await anyio.lowlevel.checkpoint()
            assert (await decision.rule(exchange(), [near(0)])).accepted is not None


async def test_no_more_are_pending_than_allowed() -> None:
    verify = Says(verdict=True)
    verify.gate = anyio.Event()
    decision = VerifiedDecision(Inner(0.5), verify, most_pending=3)
    rulings: list[Ruling] = []

    async def ask() -> None:
        rulings.append(await decision.rule(exchange(), [near(0)]))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
        while len(rulings) < 2:
            await anyio.lowlevel.checkpoint()
        assert [ruling.reasons for ruling in rulings] == [("the verifier is busy",)] * 2
        verify.gate.set()
    assert len(verify.asked) == 3
    assert [ruling.accepted is not None for ruling in rulings] == [False, False, True, True, True]


async def test_cancelled_request_leaves_no_verification_behind() -> None:
    verify = Says(verdict=True)
    verify.gate = anyio.Event()
    decision = VerifiedDecision(Inner(0.5), verify)
    async with anyio.create_task_group() as group:
        group.start_soon(decision.rule, exchange(), [near(0)])
        while not verify.asked:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    await anyio.sleep(0.01)
    assert decision._pending == set()


async def test_request_may_be_cancelled_at_any_await() -> None:
    verify = Says(verdict=True)
    decision = VerifiedDecision(Inner(0.5), verify, most_pending=1)

    async def check() -> None:
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        assert decision._pending == set()
        assert (await decision.rule(exchange(), [near(0)])).accepted is not None

    assert await cancel_at_every_step(lambda: decision.rule(exchange(), [near(0)]), check) > 0


async def test_error_that_nobody_waits_for_is_not_printed() -> None:
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))

    async def verify(*texts: str) -> bool:
        try:
            await anyio.sleep(60)
        finally:
            raise RuntimeError(texts[0])

    decision = VerifiedDecision(Inner(0.5), verify, timeout=0.01)
    await decision.rule(exchange(), [near(0)])
    await anyio.sleep(0.01)
    gc.collect()
    assert heard == []


async def test_closing_ends_what_was_pending() -> None:
    verify, inner = Says(verdict=True), Inner(0.5)
    verify.gate = anyio.Event()
    decision = VerifiedDecision(inner, verify)
    reasons: list[str] = []

    async def ask() -> None:
        reasons.extend((await decision.rule(exchange(), [near(0)])).reasons)

    async with anyio.create_task_group() as group:
        async with decision.lifespan():
            assert (inner.open, verify.open) == (True, True)
            group.start_soon(ask)
            while not verify.asked:
                await anyio.lowlevel.checkpoint()
        assert (inner.open, verify.open) == (False, False)
    assert reasons == ["the verifier failed (CancelledError)"]


async def test_verified_decision_is_what_the_inner_one_is() -> None:
    inner = Inner(0.5)
    decision = VerifiedDecision(inner, Says(verdict=True))
    assert isinstance(decision, Decision)
    assert (decision.lowest, decision.neighbours, decision.calibrated) == (0.25, 7, 0.5)
    assert isinstance(decision, Learning)
    decision.learn(Request(body={}), Judgement(near(0), 0.0, 0.0, 0.0, VERSION), same=False, kind="miss")
    assert inner.learnt == [False]


@pytest.mark.parametrize(
    "options",
    [
        {"grey": (0.5, 0.5)},
        {"grey": (float("nan"), None)},
        {"timeout": 0},
        {"timeout": inf},
        {"most_pending": 0},
        {"most_pending": True},
        {"verify": "gpt"},
    ],
)
async def test_option_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        VerifiedDecision(Inner(0.5), **{"verify": Says(verdict=True), **options})
