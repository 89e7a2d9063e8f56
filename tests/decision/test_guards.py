"""What must be equal between two questions, and what a guarded decision makes of it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asynccache import Candidate, ConfigurationError, Request, Source
from asynccache._exchange import Exchange
from asynccache._judging import Judgement, Ruling
from asynccache._protocols import Accountable, Comparing, Decision, Learning
from asynccache.decision.guards import GUARDS, Guarded, entities, negation, numbers, units
from asynccache.testing import make_entry

Guard = Callable[[Request, Candidate], str | None]


def asking(question: str | None) -> Request:
    return Request(body={}).identified(b"k" * 32, b"p" * 32, question)


def stored(question: str | None, number: int = 0, source: Source = Source.SEMANTIC) -> Candidate:
    return Candidate(make_entry(number, created_at=0.0, question=question), source, 0.0, 0.9)


def passes(guard: Guard, one: str, other: str) -> bool:
    """Whether the guard lets the two pass, which must not depend on which was first."""
    there, back = guard(asking(one), stored(other)), guard(asking(other), stored(one))
    assert (there is None) == (back is None)
    return there is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 1,000 plus 5?", "What is 1000 + 5?"),
        ("a loan of 1,234,567.50", "a loan of 1.234.567,50"),
        ("1,00,000 rupees", "100000 rupees"),
        ("twenty-one guns", "21 guns"),
        ("two hundred and five days", "205 days"),
        ("two thousand twenty four", "2024"),
        ("a dozen eggs", "12 eggs"),
        ("1.5 million users", "1,500,000 users"),
        ("a 10k run", "a 10000 run"),
        ("5 percent of it", "5% of it"),
        ("the 3rd chapter", "the third chapter"),
        ("World War II", "world war 2"),
        ("at 10:30 pm", "at 22:30"),
        ("at 5pm", "at 5 p.m."),
        ("on 2024-01-05", "on January 5th, 2024"),
        ("on 5 Jan 2024", "on 2024-01-05"),
        ("$3.50 each", "$3.5 each"),
        ("version 5.0", "version 5"),
        ("½ a cup", "1/2 a cup"),
        ("Which one is better?", "Which is better?"),
        ("What may I do?", "What can I do?"),
        ("GPT-4 costs", "costs of GPT 4"),
        ("add 5 and 3", "add 3 and 5"),
    ],
)
def test_same_numbers_in_other_spelling_pass(one: str, other: str) -> None:
    assert passes(numbers, one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Python 3.11 news", "Python 3.12 news"),
        ("Python 3.1 news", "Python 3.10 news"),
        ("release 1.2.3", "release 1.2.4"),
        ("10 km", "100 km"),
        ("10 and 10", "10"),
        ("5% off", "5 off"),
        ("agent 007", "agent 7"),
        ("the first law", "the second law"),
        ("the first law", "the law"),
        ("two dogs", "three dogs"),
        ("two million", "two billion"),
        ("hundreds of them", "thousands of them"),
        ("the 1990 crisis", "the 1991 crisis"),
        ("World War I or II", "World War I or III"),
        ("at 10:30 am", "at 10:30 pm"),
        ("at noon", "at midnight"),
        ("on 5/1/2024", "on 1/5/2024"),
        ("in May 2024", "in June 2024"),
        ("on Monday", "on Tuesday"),
        ("the weather today", "the weather tomorrow"),
        ("call 555-0123", "call 555-0124"),
        ("it is -5 outside", "it is 5 outside"),
        ("5 - 3", "3 - 5"),
        ("5 + 3", "5 * 3"),
        ("5 minus 3", "5 plus 3"),
        ("twice as much", "as much"),
        ("1.000 pieces", "1000 pieces"),
    ],
)
def test_other_numbers_are_refused(one: str, other: str) -> None:
    assert not passes(numbers, one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Why can't I log in?", "Why can I not log in?"),
        ("I dont get it", "I don\u2019t get it"),
        ("tea without sugar", "tea with no sugar"),
        ("How do I enable it?", "How can I activate it?"),
        ("How do I increase my limit?", "raising my limit"),
        ("an internship in Rome", "internships in Rome"),
        ("whether or not it works", "whether it works"),
        ("a reader of books", "reading books"),
        ("in 5 min", "in 5 minutes"),
        ("the schools of Rome", "the good and bad schools of Rome"),
        ("what is 5 minus 3", "what is 5 - 3"),
    ],
)
def test_same_polarity_in_other_words_passes(one: str, other: str) -> None:
    assert passes(negation, one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Why can I log in?", "Why can't I log in?"),
        ("Why does it work?", "Why doesnt it work?"),
        ("tea with sugar", "tea without sugar"),
        ("Who has ever won?", "Who has never won?"),
        ("all but one", "none but one"),
        ("if it works", "unless it works"),
        ("everyone except me", "everyone and me"),
        ("before lunch", "after lunch"),
        ("until Monday", "on Monday"),
        ("only for members", "for members"),
        ("at least five", "at most five"),
        ("Does it fail to start?", "Does it start?"),
        ("How do I enable it?", "How do I disable it?"),
        ("turn it on", "turn it off"),
        ("What increases risk?", "What decreases risk?"),
        ("lock the door", "unlock the door"),
        ("subscribing to it", "How do I unsubscribe?"),
        ("Is it legal?", "Is it illegal?"),
        ("a useful tool", "a useless tool"),
        ("prepaid cards", "postpaid cards"),
        ("how to upload files", "how to download files"),
        ("buy a house", "sell a house"),
        ("gluten-free bread", "bread with gluten"),
        ("How do I prevent it?", "How do I do it?"),
        ("Are all birds able to fly?", "Are some birds able to fly?"),
        ("a book for beginners", "a book for experts"),
        ("the pros and cons of it", "the pros and pros of it"),
        ("the best or good schools", "the worst or good schools"),
    ],
)
def test_other_polarity_is_refused(one: str, other: str) -> None:
    assert not passes(negation, one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5 km in miles", "5 kilometers in mile"),
        ("$5", "5 dollars"),
        ("USD 5", "5 usd"),
        ("30 °C", "30 degrees Celsius"),
        ("a 5-year plan", "a plan of 5 years"),
        ("16GB of memory", "16 gigabytes of memory"),
        ("one minute", "1 min"),
        ("the monthly fee", "the fee per month"),
        ("a bit of luck", "luck"),
        ("5 M users", "5 users"),
    ],
)
def test_same_units_in_other_spelling_pass(one: str, other: str) -> None:
    assert passes(units, one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10 km in miles", "10 km in metres"),
        ("10 km in 5 minutes", "5 km in 10 minutes"),
        ("80 kg", "80 lbs"),
        ("$5", "€5"),
        ("5 dollars", "5 euros"),
        ("30 C", "30 F"),
        ("5%", "5"),
        ("16 GB", "16 MB"),
        ("two hours", "two days"),
        ("how many days", "how many weeks"),
        ("monthly fee", "yearly fee"),
        ("5 ml", "5 l"),
    ],
)
def test_other_units_are_refused(one: str, other: str) -> None:
    assert not passes(units, one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How far is Paris from London?", "how far is paris from london"),
        ("Paris has how many bridges?", "How many bridges does Paris have?"),
        ("What Is The Capital Of France", "what is the capital of France"),
        ("WHAT IS SQL", "What is SQL?"),
        ("Who leads the U.S.?", "Who leads the USA?"),
        ("What's Trump's age?", "How old is Trump?"),
        ('What does "break a leg" mean?', "What does break a leg mean?"),
        ("How do I use os.path.join()?", "how to use os.path.join"),
        ("I think I'm lost. What now?", "What now, if lost?"),
        ("Mail A.B@C.com", "mail a.b@c.com"),
        ("Compare Java and Python", "Compare Python and Java"),
        ("The iPhones of today", "the iPhone of today"),
        ("5 KM", "5 km"),
        ("World War II", "world war 2"),
        ("Play some jazz", "I want to hear some jazz"),
        ("Only You can stop it", "you alone can stop it"),
    ],
)
def test_same_names_in_other_writing_pass(one: str, other: str) -> None:
    assert passes(entities, one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How far is Paris from London?", "How far is Paris from Berlin?"),
        ("how far is paris from london", "How far is Paris from Berlin?"),
        ("Paris is in which country?", "London is in which country?"),
        ("What is SQL?", "What is AWS?"),
        ("How To Use SQL In AWS", "How To Use SQL In GCP"),
        ("vitamin C", "vitamin D"),
        ("Explain C++ to me", "Explain C# to me"),
        ("use my_var here", "use my_val here"),
        ("what does os.path.join do", "what does os.path.split do"),
        ("the --force flag", "the --quiet flag"),
        ("see https://a.example/x", "see https://a.example/y"),
        ("write to a@b.com", "write to c@b.com"),
        ('What does "foo" mean?', 'What does "bar" mean?'),
        ("run `ls` there", "run `rm` there"),
        ("the ThinkPad X1", "the ThinkPad T14"),
        ("Tell me about Ümit", "Tell me about Ömer"),
    ],
)
def test_other_names_are_refused(one: str, other: str) -> None:
    assert not passes(entities, one, other)


PIECES = "a A 5 5% 1,000 1.5 10:30 pm two hundred and may not un lock $ km C ° \" ' - / _ . U.S. £5 ② Ⅳ ٣"
TEXTS = st.text() | st.lists(st.sampled_from(tuple(PIECES.split(" ")))).map(" ".join)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_guards_take_any_text_pass_a_text_beside_itself_and_know_no_order(one: str, other: str) -> None:
    for guard in GUARDS.values():
        assert guard(asking(one), stored(one)) is None
        passes(guard, one, other)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_numbers_are_told_apart_by_value_however_they_are_grouped(one: int, other: int) -> None:
    assert passes(numbers, f"give me {one} of {other}", f"of {other:,} give me {one:_}")
    assert passes(numbers, f"give me {one}", f"give me {other:,}") is (one == other)


@pytest.mark.parametrize("guard", GUARDS.values())
def test_question_without_text_is_refused_unless_the_match_is_exact(guard: Guard) -> None:
    assert guard(asking(None), stored("a")) is not None
    assert guard(asking("a"), stored(None)) is not None
    assert guard(asking(None), stored(None, source=Source.EXACT)) is None


class Inner:
    """Refuses what it is told to, accepts the first of the rest, and can all that a decision can."""

    lowest = 0.25
    neighbours = 7

    def __init__(self, *refused: int) -> None:
        self.refused = [make_entry(number, created_at=0.0).key for number in refused]
        self.seen: list[Sequence[Candidate]] = []
        self.learnt: list[bool] = []
        self.open = False
        self.stats = {"labels": 3}

    async def rule(self, exchange: Exchange, candidates: Sequence[Candidate], /) -> Ruling:
        self.seen.append(candidates)
        reasons: list[str] = []
        judgement = Judgement(candidates[0], 0.0, 0.0, 0.0, b"v" * 16)
        for candidate in candidates:
            if candidate.entry.key not in self.refused:
                return Ruling(candidate, tuple(reasons), judgement)
            reasons.append("not this one")
        return Ruling(None, tuple(reasons), judgement)

    def learn(self, *_: Any, same: bool, **__: Any) -> None:
        self.learnt.append(same)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self.open = True
        yield
        self.open = False


def exchange(question: str) -> Exchange:
    return Exchange(asking(question), "fetch", cast("Any", None), 0.0)


@pytest.mark.anyio
async def test_guarded_decision_sees_only_what_passes_the_guards() -> None:
    inner = Inner()
    near = [stored("10 km", 0), stored("5 km", 1), stored("5 miles", 2)]
    ruling = await Guarded(inner, [numbers, units]).rule(exchange("5 km"), near)
    assert inner.seen == [[near[1]]]
    assert ruling.accepted is near[1]
    assert ruling.reasons == ("the questions have different numbers", "the questions have different units")


@pytest.mark.anyio
async def test_reasons_stand_in_the_order_of_the_refused_candidates() -> None:
    inner = Inner(0, 2)
    near = [stored("5 km", 0), stored("10 km", 1), stored("5 km", 2), stored("6 km", 3)]
    ruling = await Guarded(inner, [numbers]).rule(exchange("5 km"), near)
    guarded = "the questions have different numbers"
    assert ruling.accepted is None
    assert ruling.reasons == ("not this one", guarded, "not this one", guarded)
    assert ruling.judgement is not None


@pytest.mark.anyio
async def test_reason_is_never_told_of_a_candidate_that_was_not_refused() -> None:
    # The inner decision accepts the first and has nothing to say of the second: a reason for the third
    # would be read as the second's.
    near = [stored("5 km", 0), stored("5 km", 1), stored("10 km", 2)]
    ruling = await Guarded(Inner(), [numbers]).rule(exchange("5 km"), near)
    assert ruling.accepted is near[0]
    assert ruling.reasons == ()


@pytest.mark.anyio
async def test_decision_is_not_asked_when_no_candidate_passes() -> None:
    inner = Inner()
    ruling = await Guarded(inner, [numbers]).rule(exchange("5 km"), [stored("6 km"), stored("7 km")])
    assert inner.seen == []
    assert ruling == Ruling(None, ("the questions have different numbers",) * 2)


@pytest.mark.anyio
async def test_long_questions_are_read_off_the_event_loop() -> None:
    threads: list[int] = []

    def guard(request: Request, candidate: Candidate) -> str | None:
        threads.append(threading.get_ident())
        return None

    guarded = Guarded(Inner(), [guard])
    await guarded.rule(exchange("short"), [stored("short")])
    await guarded.rule(exchange("long " * 10_000), [stored("short")])
    assert threads[0] == threading.get_ident() != threads[1]


@pytest.mark.anyio
async def test_guarded_decision_is_what_the_inner_one_is() -> None:
    inner = Inner()
    guarded = Guarded(inner, [])
    assert isinstance(guarded, Decision)
    assert (guarded.lowest, guarded.neighbours, guarded.stats) == (0.25, 7, {"labels": 3})
    assert isinstance(guarded, Learning)
    assert "learn" in vars(guarded)  # where later versions of Python look, which ask no __getattr__
    guarded.learn(asking("a"), Judgement(stored("a"), 0.0, 0.0, 0.0, b"v" * 16), same=True, kind="miss")
    assert inner.learnt == [True]
    async with guarded.lifespan():
        assert inner.open
    assert not inner.open


def test_guarded_decision_can_nothing_that_the_inner_one_cannot() -> None:
    class Plain:
        lowest, neighbours, rule = 0.0, 0, Inner.rule

    guarded = Guarded(cast("Decision", Plain()), [])
    for capability in (Learning, Comparing, Accountable):
        assert not isinstance(guarded, capability)
    assert not hasattr(guarded, "stats")


def test_guard_must_be_a_function() -> None:
    with pytest.raises(ConfigurationError, match="numbers, negation, units, entities"):
        Guarded(Inner(), cast("Any", ["numbers"]))
