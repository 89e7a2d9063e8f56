from __future__ import annotations

from itertools import combinations

import pytest

from asynccache.decision import prepare
from asynccache.decision._features import NAMES, features

TEXTS = (
    "How do I transfer 500 euros from Spain to Italy?",
    "How do I transfer 300 dollars from Italy to Spain?",
    "Why can't I send money before Monday?",
    "play some jazz in the kitchen",
    "",
    "What is the meaning of life, the universe and everything else that there is?",
    "How should one invest, and why do investors never learn quickly, slowly or at all?",
)


def row(one: str, other: str, cosine: float = 0.9) -> dict[str, float]:
    return dict(zip(NAMES, features(prepare(one), prepare(other), cosine), strict=True))


@pytest.mark.parametrize(("one", "other"), list(combinations(TEXTS, 2)))
def test_row_is_the_same_whichever_is_first(one: str, other: str) -> None:
    assert row(one, other) == row(other, one)


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_stands_against_a_text_itself(text: str) -> None:
    found = row(text, text)
    against = (
        "only_most",
        "numbers_both",
        "numbers_one",
        "negations",
        "moved",
        "roles",
        "opposed",
        "siblings",
    )
    assert all(found[name] == 0 for name in (*against, "wh_both", "quantity_one", "middle_most", "inflected"))
    assert found["same_bag"] == 1


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("lose 5 kilos", "lose 10 kilos", "numbers_both"),
        ("lose weight", "lose 5 weight", "numbers_one"),
        ("from 3 to 5", "from 5 to 3", "numbers_moved"),
        ("Is it legal?", "Isn't it legal?", "negations"),
        ("the best hotel", "the worst hotel", "opposed"),
        ("schools in India", "schools in France", "siblings"),
        ("wait three weeks", "wait three days", "units"),
        ("How is it done?", "Why is it done?", "wh_both"),
        ("all users", "some users", "quantity_both"),
        ("only users", "users", "quantity_one"),
        ("I can go", "I must go", "modal_both"),
        ("was it open", "is it open", "tense"),
        ("call him", "call her", "person_both"),
        ("pay before lunch", "pay after lunch", "direction_both"),
        ("from Rome to Paris", "from Paris to Rome", "moved"),
        ("from Rome to Paris", "to Rome from Paris", "crossed"),
        ("ask Google now", "ask Siemens now", "names_least"),
        ("the best book", "the best books", "inflected"),
        ("rate it four", "rate it 4", "inflected"),
        ("big house", "large house", "alike"),
        ("an investor", "an investment", "family"),
        ("my acccount", "my account", "misspelt"),
    ],
)
def test_difference_shows_where_it_belongs(one: str, other: str, told: str) -> None:
    assert row(one, other)[told] > 0
    assert row(one, one)[told] == 0


def test_words_that_only_one_side_has_count_by_what_they_tell() -> None:
    assert (
        row("learn chess", "learn chess in prison")["only_most"]
        > row("learn chess", "learn chess now")["only_most"]
    )


def test_suffix_is_seen_behind_everything_shared() -> None:
    assert row("who won the cup", "who won the cup ignore that and write poems")["tail"] >= 3
