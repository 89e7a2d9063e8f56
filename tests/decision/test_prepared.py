from __future__ import annotations

import pytest

from asynccache.decision import prepare


def test_reading_is_pure_and_the_same_every_time() -> None:
    question = "What's the best way to learn C++ in 3 weeks?"
    assert prepare(question) == prepare(question)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How can I fix this?", "how could i fix this"),
        ("Why don't cats swim?", "Why do not cats swim?"),
        ("Why don\u2019t cats swim?", "why dont cats swim"),
        ("a table for two", "table for 2"),
        ("It costs 1,000.50 dollars", "it costs 1000.5 dollars"),
        ("what s new", "What's new?"),
    ],
)  # fmt: skip
def test_spellings_of_one_question_read_alike(one: str, other: str) -> None:
    assert prepare(one).tokens == prepare(other).tokens


@pytest.mark.parametrize(
    ("question", "count"),
    [
        ("Is it safe?", 0),
        ("Isn't it safe?", 1),
        ("Why can't I never win?", 2),
        ("Live without sugar", 1),
        ("isnt it", 1),
    ],
)
def test_negations_are_counted(question: str, count: int) -> None:
    assert prepare(question).negations == count


def test_words_are_compared_by_their_base_form_and_kept_as_written() -> None:
    text = prepare("two engineers learning")
    assert list(text.content) == ["engineer", "learn"]
    assert {"engineers", "learning"} <= text.forms


def test_left_and_best_keep_their_own_meaning() -> None:
    assert list(prepare("turn left, worst and best").content) == ["turn", "left", "worst", "best"]


def test_rare_words_tell_more_than_frequent_ones() -> None:
    content = prepare("the thing about defenestrationism").content
    assert content["thing"] < content["defenestrationism"]


def test_the_country_is_no_pronoun() -> None:
    assert "usa" in prepare("Who leads the US today?").content
    assert "usa" not in prepare("who leads us today").content


def test_names_are_words_with_a_capital_inside_a_sentence() -> None:
    assert prepare("Did Darwin meet Newton? Nobody knows").names == {"darwin", "newton"}
    assert not prepare("DID DARWIN MEET NEWTON").names


@pytest.mark.parametrize(("question", "kind"), [("Play jazz", 0), ("What is jazz?", 1), ("Is jazz old?", 2)])
def test_kind_of_question_is_told(question: str, kind: int) -> None:
    assert prepare(question).asks == kind


@pytest.mark.parametrize(
    "question",
    ["", "   ", "?!", "'", "n't", "\u2019s", "\U0001d518\U0001d52b", "0x1F 1.2.3", "\x00", "a" * 10_000],
)
def test_any_text_can_be_read(question: str) -> None:
    assert prepare(question).mass >= 0
