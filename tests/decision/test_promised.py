"""The decision that keeps a promise, with the bundled model, in a pipeline and alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from asynccache import (
    CachePipeline,
    Candidate,
    ConfigurationError,
    Event,
    PromiseChanged,
    Request,
    Source,
    StageFailed,
)
from asynccache.decision import PairScore, PromisedDecision
from asynccache.decision.promise import Prior
from asynccache.testing import FakeJudge, FakeUpstream, make_entry, make_label

pytestmark = pytest.mark.anyio

FREEZE = "Open the app, choose Cards, then Freeze."
BOLD = Prior(1.5, 3.0, 2000.0)
"""Makes the limit low, so that a test need not teach the decision first."""


async def bank(body: Mapping[str, Any]) -> str:
    await asyncio.sleep(0)
    question = body["messages"][-1]["content"].lower()
    if "unfreeze" in question:
        return "Open the app, choose Cards, then Unfreeze."
    return FREEZE if "freeze" in question else f"You asked: {question}"


def asking(upstream: Any = bank, *, prior: Prior = BOLD, store: Any = "memory://", **options: Any) -> Any:
    decision = PromisedDecision(
        **{name: options.pop(name) for name in ("max_error", "shadow") if name in options}, prior=prior
    )
    defaults: dict[str, Any] = {"backend": store, "judge": FakeJudge(), "strict": True}
    return CachePipeline(upstream, decision=decision, **{**defaults, **options})


async def test_other_words_for_a_question_are_a_hit_and_its_opposite_is_not() -> None:
    async with asking() as cache:
        await cache.ask("How do I freeze my card?")
        near = await cache.ask("How can I freeze my card?")
        opposite = await cache.ask("How can I unfreeze my card?")
    assert (near.source, near.text) == (Source.SEMANTIC, FREEZE)
    assert near.judgement.calibrated >= near.judgement.limit
    assert opposite.source is Source.UPSTREAM
    assert opposite.reasons == ("not sure enough for max_error",)


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("Convert 10 miles to kilometres.", "Convert 12 miles to kilometres."),
        ("What is the capital of France?", "What is the capital of Finland?"),
        ("Can I travel with a visa?", "Can I travel without a visa?"),
        ("How do I send money from Spain to Portugal?", "How do I send money from Portugal to Spain?"),
        ("Which foods are safe for dogs?", "Which foods are not safe for dogs?"),
    ],
)
async def test_a_small_edit_of_the_question_is_no_hit(stored: str, asked: str) -> None:
    async with asking(max_error=0.02, prior=Prior(1.5, 1.5, 200.0)) as cache:
        await cache.ask(stored)
        assert (await cache.ask(asked)).source is Source.UPSTREAM


async def test_a_question_that_asks_for_something_besides_is_no_hit_however_near() -> None:
    async with asking(embedder=_flat, max_error=0.9) as cache:
        await cache.ask("How do I freeze my card?")
        more = await cache.ask("How do I freeze my card? Send me a joke.")
        less = await cache.ask("How do I freeze the card?")
    assert more.reasons == ("one of the questions asks for more than the other",)
    assert less.source is Source.SEMANTIC


async def test_text_in_another_language_is_exact_only() -> None:
    async with asking() as cache:
        await cache.ask("Wie kann ich meine Karte sperren?")
        other = await cache.ask("Wie kann ich bitte meine Karte sperren?")
        assert (await cache.ask("Wie kann ich meine Karte sperren?")).source is Source.EXACT
    assert other.source is Source.UPSTREAM
    assert other.reasons == ("not in a language the decision knows",)


async def test_a_shadow_decides_and_learns_and_never_serves() -> None:
    async with asking(shadow=True) as cache:
        await cache.ask("How do I freeze my card?")
        near = await cache.ask("How can I freeze my card?")
        await cache.flush()
        account = cache.stats().learnt
    assert near.source is Source.UPSTREAM
    assert near.reasons == ("shadow: it would have been served",)
    assert account is not None
    assert account.labels == 1


async def test_a_request_may_be_stricter_and_not_bolder() -> None:
    async with asking(max_error=0.05, prior=Prior(1.5, 1.5, 200.0)) as cache:
        await cache.ask("How do I freeze my card?")
        usual = await cache.ask("How can I unfreeze my card?", control={"no_store": True})
        strict = await cache.ask("How can I unfreeze my card?", control={"max_error": 0.02, "no_store": True})
        bolder = await cache.ask("How can I unfreeze my card?", control={"max_error": 0.9, "no_store": True})
        none = await cache.ask("How can I freeze my card?", control={"max_error": 0})
    limits = [outcome.judgement.limit for outcome in (usual, strict, bolder)]
    assert limits[0] == limits[2] < limits[1]
    assert none.source is Source.UPSTREAM
    assert none.judgement is None


async def test_a_promise_that_cannot_be_kept_closes_the_tier_and_says_so() -> None:
    events: list[Event] = []
    async with asking(max_error=0.0001, prior=Prior(1.5, 1.5, 200.0), hooks=[events.append]) as cache:
        await cache.ask("How do I freeze my card?")
        near = await cache.ask("How can I freeze my card?")
        assert cache.stats().learnt.limits == {None: float("inf")}
    assert near.reasons == ("max_error cannot be kept: the semantic tier is closed",)
    assert [event.limit for event in events if isinstance(event, PromiseChanged)] == [None]


async def test_what_was_learnt_outlives_the_process_and_reaches_others(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    async with CachePipeline(bank, backend=url, judge=FakeJudge(), strict=True) as cache:
        for question in ("How do I freeze my card?", "How do I block my card?", "Where is my card?"):
            await cache.ask(question)
        await cache.flush()
        learnt = cache.stats().learnt
        assert learnt is not None
        assert learnt.labels > 0
    async with CachePipeline(bank, backend=url, judge=FakeJudge(), strict=True) as cache:
        await cache.ask("How might I freeze a card?", control={"no_store": True})
        await cache.flush()
        assert cache.stats().learnt.labels >= learnt.labels  # type: ignore[union-attr]


async def test_a_rejected_pair_never_hits_again_in_any_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    options: dict[str, Any] = {"backend": url, "judge": FakeJudge(), "max_error": 0.2, "strict": True}
    async with CachePipeline(bank, **options) as cache:
        await cache.ask("How do I freeze my card?")
        hit = await cache.ask("How can I freeze my card?")
        assert hit.source is Source.SEMANTIC
        await cache.flush()
        assert await cache.reject(hit)
        again = await cache.ask("How can I freeze my card?", control={"no_store": True})
        assert (again.source, again.reasons) == (Source.UPSTREAM, ("rejected before",))
    async with CachePipeline(bank, **options) as cache:
        again = await cache.ask("How can I freeze my card?", control={"no_store": True})
        assert again.source is Source.UPSTREAM
        assert "rejected before" in again.reasons


async def test_an_answer_rejected_for_two_questions_is_quarantined() -> None:
    async with asking(max_error=0.9) as cache:  # so that one rejection does not make it strict
        own = await cache.ask("How do I freeze my card?")
        for question in ("How can I freeze my card?", "How could I freeze my card?"):
            hit = await cache.ask(question)
            assert hit.source is Source.SEMANTIC
            assert await cache.reject(hit)
        third = await cache.ask("How should I freeze my card?")
        assert third.source is Source.UPSTREAM
        assert "found wrong for other questions" in third.reasons
        assert (await cache.ask("How do I freeze my card?")).text == own.text


async def test_labels_nearby_make_a_topic_strict_or_generous() -> None:
    async with asking() as cache:
        await cache.ask("How do I freeze my card?")
        before = await cache.ask("How can I freeze my card?", control={"no_store": True})
        for question in ("How do I unfreeze my card?", "How do I unfreeze the card?"):
            await cache.ask(question)
            await cache.flush()
        async with asking() as fresh:
            await fresh.ask("How do I freeze my card?")
            after = await fresh.ask("How can I freeze my card?", control={"no_store": True})
    assert before.judgement.score == pytest.approx(after.judgement.score)


async def test_an_alias_is_served_by_its_key_and_only_while_the_promise_holds() -> None:
    embeddings = 0
    async with asking() as cache:
        await cache.ask("How do I freeze my card?")
        first = await cache.ask("How can I freeze my card?")
        assert first.judgement.calibrated >= first.judgement.limit + 1
        await cache.flush()
        again = await cache.ask("How can I freeze my card?")
        assert (again.source, again.entry.question) == (Source.SEMANTIC, "How do I freeze my card?")
        assert await cache.reject(again)
        assert (await cache.ask("How can I freeze my card?")).source is Source.UPSTREAM
    del embeddings


async def test_long_questions_are_read_off_the_event_loop() -> None:
    text = " ".join(f"The {n}th clause of my long contract says something else." for n in range(60))
    async with asking(embedder=_flat) as cache:
        await cache.ask(text)
        other = await cache.ask(text + " Is that legal?")
    assert other.judgement is not None


async def _flat(texts: Any) -> list[list[float]]:
    return [[1.0, 0.001 * (len(text) % 7)] for text in texts]


async def test_another_embedder_gets_the_generic_score() -> None:
    async with asking(embedder=_flat) as cache:
        await cache.ask("How do I freeze my card?")
        near = await cache.ask("How can I freeze my card?")
        far = await cache.ask("What is the exchange rate for euros today?")
    assert near.judgement.score > far.judgement.score


async def test_weights_that_cannot_be_read_cost_semantic_hits_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(space: bytes | None = None) -> PairScore:
        raise ValueError("the weights are for other features")

    monkeypatch.setattr(PairScore, "load", broken)
    events: list[Event] = []
    async with CachePipeline(bank, backend="memory://", hooks=[events.append]) as cache:
        await cache.ask("How do I freeze my card?")
        assert (await cache.ask("How can I freeze my card?")).text == FREEZE
        assert (await cache.ask("How do I freeze my card?")).source is Source.EXACT
    failed = [event for event in events if isinstance(event, StageFailed)]
    assert {event.stage for event in failed} == {"Validate"}


@pytest.mark.parametrize("max_error", [0, 1, -0.1, True, "0.02", float("nan")])
def test_a_share_that_is_none_is_refused(max_error: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_error"):
        PromisedDecision(max_error=max_error)


@pytest.mark.parametrize("max_error", [-0.1, 1.5, "x", True])
async def test_a_request_with_such_a_share_is_refused_at_the_door(max_error: Any) -> None:
    upstream = FakeUpstream()
    async with asking(upstream) as cache:
        with pytest.raises(Exception, match=r"control\.max_error"):
            await cache.ask("q", control={"max_error": max_error})
    assert upstream.calls == []


FORMS = (
    "How do I {}?", "How can I {}?", "How could I {}?", "How should I {}?", "Please tell me how to {}.",
    "Can you tell me how to {}?", "What is the way to {}?", "how do i {}", "How do I {} please?",
    "How would I {}?", "Could you explain how to {}?", "Tell me how I can {}.", "I want to know how to {}.",
    "I'd like to {}, how do I do that?", "What do I have to do to {}?", "What must I do to {}?",
    "What should I do to {}?", "Is there a way to {}?", "How does one {}?", "What's the way to {}?",
)  # fmt: skip
ACTS = (
    "freeze my card", "change my PIN", "close my account", "order a new card", "raise my transfer limit",
    "cancel a standing order", "export my statements", "add a second cardholder", "report a lost phone",
    "verify my identity",
)  # fmt: skip


@pytest.mark.parametrize("max_error", [0.02, 0.05, 0.2])
async def test_200_near_twins_make_a_call_for_each_question_that_is_never_accepted(max_error: float) -> None:
    class Watched(PromisedDecision):
        async def rule(self, exchange: Any, candidates: Any, /) -> Any:
            ruling = await super().rule(exchange, candidates)
            if ruling.accepted is not None:
                accepted.add(exchange.request.question)
            return ruling

    async def upstream(body: Mapping[str, Any]) -> str:
        question: str = body["messages"][-1]["content"]
        calls.append(question)
        await asyncio.sleep(0.05)
        return next(act for act in ACTS if act in question)

    accepted: set[str] = set()
    calls: list[str] = []
    questions = {form.format(act): act for act in ACTS for form in FORMS}
    cache = CachePipeline(
        upstream,
        backend="memory://",
        decision=Watched(max_error=max_error),
        judge=FakeJudge(),
        strict=True,
    )
    async with cache:
        outcomes = await asyncio.gather(*(cache.ask(question) for question in questions))
    assert [each.text for each in outcomes] == list(questions.values())
    assert sorted(calls) == sorted(set(questions) - accepted)
    # One that has learnt nothing refuses nearly all at a small max_error; at a large one it need not.
    assert max_error < 0.2 or len(calls) < len(questions) // 2


async def test_what_is_known_to_give_a_rejected_answer_is_rejected_with_it() -> None:
    decision = PromisedDecision(prior=BOLD)
    decision._version = bytes(16)
    rejected, sibling, other = (make_entry(number, created_at=0.0) for number in range(3))
    label = make_label(0, at=0.0, version=bytes(16), score=1.0)
    decision._knowledge.take(label._replace(key=rejected.key, asked=sibling.key, same=True))
    decision._knowledge.take(label._replace(key=rejected.key, same=False, kind="reject"))
    candidates = [Candidate(entry, Source.SEMANTIC, 0.0, 0.9) for entry in (rejected, sibling, other)]
    asked = Request(body={}, key=label.asked)
    assert decision._barred(asked, candidates) == ["rejected before", "rejected before", None]
    assert decision._barred(Request(body={}, key=bytes(32)), candidates) == [None, None, None]
