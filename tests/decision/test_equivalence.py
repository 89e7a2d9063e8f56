"""The judge that asks no language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asynccache import ConfigurationError
from asynccache._judging import AnswerPair
from asynccache.decision.equivalence import BuiltinJudge
from asynccache.testing import FakeEmbedder

if TYPE_CHECKING:
    from asynccache._protocols import AnswerEquivalence, Embedder

pytestmark = pytest.mark.anyio

_IS_ONE: type[AnswerEquivalence] = BuiltinJudge


def pair(
    fresh: str, stored: str, asked: str = "what is it", stored_for: str = "tell me what it is"
) -> AnswerPair:
    return AnswerPair(asked, stored_for, fresh, stored)


async def judged(
    fresh: str, stored: str, asked: str = "what is it", stored_for: str = "tell me what it is"
) -> bool | None:
    return await BuiltinJudge()(pair(fresh, stored, asked, stored_for))


@pytest.mark.parametrize(
    ("fresh", "stored"),
    [
        ("Paris", " paris. "),
        ("**Paris**", "Paris"),
        ('"5"', "5."),
        ("# Paris\n\n- red\n- green", "Paris red green"),
        ("The “capital” is Paris", 'the "capital" is paris!'),
        ("\uff30aris", "Paris"),
        ("See [the page](https://a.example/x).", "See the page https://a.example/x"),
    ],
)
async def test_answers_that_differ_in_decoration_alone_are_the_same(fresh: str, stored: str) -> None:
    assert await judged(fresh, stored) is True


@pytest.mark.parametrize(
    ("fresh", "stored"),
    [("-18", "18"), (".5", "5"), ("O-", "O"), ("5'", '5"'), ("5!", "5"), ("C", "C#"), (r"`\d+`", r"`\D+`")],
)
async def test_signs_that_belong_to_a_value_are_no_decoration(fresh: str, stored: str) -> None:
    assert await judged(fresh, stored) is not True


@pytest.mark.parametrize(
    ("fresh", "stored", "same"),
    [
        ('{"a": 1, "b": [1, 2]}', '```json\n{"b": [1.0, 2], "a": 1.0000001}\n```', True),
        ('{"city": "Oslo"}', '{"city": "OSLO "}', True),
        ('{"a": 1}', '{"a": 2}', False),
        ('{"a": true}', '{"a": 1}', False),
        ('{"a": null}', '{"a": 0}', False),
        ('{"a": 1}', '{"a": 1, "b": 2}', False),
        ("[1, 2, 3]", "[3, 2, 1]", False),
        ('{"a": "on"}', '{"a": "off"}', False),
        ('{"a": ""}', '{"a": "."}', False),
        (
            '{"n": 3, "text": "It rains all day in the north"}',
            '{"n": 4, "text": "Rain in the north all day long"}',
            False,
        ),
    ],
)
async def test_json_documents_are_compared_by_structure_and_values(
    fresh: str, stored: str, same: bool
) -> None:
    assert await judged(fresh, stored) is same


async def test_prose_in_json_is_weighed_as_prose() -> None:
    one = '{"id": 7, "summary": "Revenue rose by 12 percent to 4.2 million dollars"}'
    other = '{"id": 7, "summary": "Revenue fell by 30 percent to 1.5 million dollars"}'
    assert await judged(one, other) is False


@pytest.mark.parametrize(
    ("fresh", "stored"),
    [
        ("Yes.", "No."),
        ("Yes, you can return it within 30 days.", "No, it cannot be returned."),
        ("Yes, it is open on Sundays.", "Unfortunately not, it is closed."),
        ("Ja, am Samstag.", "Nein."),
        ("The dog chased the cat.", "The cat chased the dog."),
        ("9, 7, 3, 1", "1, 3, 7, 9"),
    ],
)
async def test_yes_against_no_and_swapped_words_are_different(fresh: str, stored: str) -> None:
    assert await judged(fresh, stored) is False


@pytest.mark.parametrize(
    ("fresh", "stored", "asked", "stored_for"),
    [
        ("42", "The answer is 17.", "6 times 7", "what is 16 plus 1"),
        ("10 km is 6.21 miles.", "100 km is 62.1 miles.", "10 km in miles", "100 km in miles"),
        ("It ends on 8 May 1945.", "It ends on 11 November 1918.", "end of WWII", "end of WWI"),
        ("Open from 8 am to 6 pm.", "Open from 9 am to 1 pm.", "hours on weekdays", "hours on saturdays"),
        ("Berlin", "Paris", "capital of Germany", "capital of France"),
        (
            "The capital of Germany is Berlin.",
            "The capital of France is Paris.",
            "capital of germany",
            "capital of france",
        ),
    ],
)
async def test_short_answers_with_other_values_are_different(
    fresh: str, stored: str, asked: str, stored_for: str
) -> None:
    assert await judged(fresh, stored, asked, stored_for) is False


@pytest.mark.parametrize(
    ("fresh", "stored"),
    [
        ("You will be charged for this order.", "You will not be charged for this order."),
        ("Press the red button twice to enable it.", "Press the red button twice to disable it."),
        ("Take 5 mg of it every day.", "Take 50 mg of it every day."),
        ("The train leaves at 10:42 from platform 3.", "The train leaves at 10:24 from platform 3."),
        ("Turn left after the church.", "Turn right after the church."),
        ("Anna lends Ben her car.", "Ben lends Anna her car."),
        ("All prices include tax.", "All prices exclude tax."),
    ],
)
@pytest.mark.parametrize("embedder", [None, FakeEmbedder()], ids=["alone", "with vectors"])
async def test_minimal_edits_are_never_the_same(fresh: str, stored: str, embedder: Embedder | None) -> None:
    assert await BuiltinJudge(embedder)(pair(fresh, stored)) is not True


@pytest.mark.parametrize(
    ("fresh", "stored"),
    [
        ("The boiling point of water is 100 °C.", "100 degrees Celsius"),
        ("Mount Everest is 8,849 m high.", "8849 metres"),
        ("It opens at 9 pm.", "21:00"),
        ("May 8, 1945", "It ended on 8 May 1945."),
        ("Jane Austen", "It was written by Jane Austen."),
        ("- blue\n- red\n- green", "Red, green and blue."),
        ("UK", "United Kingdom"),
        ("14 days", "Two weeks"),
    ],
)
async def test_short_answers_in_other_words_are_not_different(fresh: str, stored: str) -> None:
    assert await judged(fresh, stored) is not False


@pytest.mark.parametrize(
    "refusal",
    [
        "I'm sorry, but I can't help with that.",
        "I don't know.",
        "I do not have access to real-time data.",
        "As an AI language model, I cannot browse the web.",
        "There is not enough information in the context.",
        "N/A",
        "Das weiß ich leider nicht. Ich weiß es nicht.",
        "",
        " \n ",
    ],
)
async def test_refusals_and_empty_answers_are_no_label(refusal: str) -> None:
    assert await judged(refusal, refusal) is None
    assert await judged(refusal, "Paris") is None
    assert await judged("Paris", refusal) is None


async def test_an_answer_that_only_qualifies_itself_is_no_refusal() -> None:
    answer = "Usually within 3 days. I can't give an exact date, since the carrier decides."
    assert await judged(answer, answer) is True


async def test_other_alphabets_stay_undecided_unless_equal() -> None:
    assert await judged("東京は日本の首都です", "日本の首都は東京です") is None
    assert await judged("東京", "東京。") is not False
    assert await judged("Столица - Москва", "столица - москва") is True
    assert await judged("Париж", "Берлин") is None


async def test_long_answers_that_differ_in_what_is_not_read_stay_undecided() -> None:
    head, tail = "word " * 2000, " end" * 2000
    assert await judged(head + "7" + tail, head + "8" + tail) is None


async def test_rates_are_options() -> None:
    judge = BuiltinJudge(missed=0.2, accepted=0)
    assert (judge.missed, judge.accepted) == (0.2, 0)
    assert BuiltinJudge(FakeEmbedder()).missed == 0


@pytest.mark.parametrize("share", [-0.1, 1.1, True, "0.1", float("nan")])
async def test_a_rate_that_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ConfigurationError, match="accepted="):
        BuiltinJudge(accepted=share)


async def test_what_it_misses_shows_only_where_equal_answers_come_in_other_words() -> None:
    canned, worded = BuiltinJudge(), BuiltinJudge()
    for number in range(60):
        assert await canned(AnswerPair("q", "p", f"Answer {number}.", f"Answer {number}."))
    assert canned.missed == 0
    pair = AnswerPair(
        "How tall is the Eiffel Tower?", "What is the height of the Eiffel Tower?", "330 metres", "330 m."
    )
    assert await worded(pair)
    for _ in range(100):
        await worded(pair)
    assert 0.06 < worded.missed < 0.07
