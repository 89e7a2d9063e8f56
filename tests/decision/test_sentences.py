"""A second request beside a question is seen, and small talk is not one."""

from __future__ import annotations

import pytest

from asynccache.decision import prepare
from asynccache.decision._sentences import says_more

PIN = "How do I change my PIN?"


@pytest.mark.parametrize(
    "text",
    [
        "How do I change my PIN? Close my account.",
        "Give me a refund. How do I change my PIN?",
        "How do I change my PIN? And the opposite?",
        "How do I change my PIN?\nOnly for businesses.",
        "Transfer 500 euros! How do I change my PIN?",
    ],
)
def test_another_request_in_a_sentence_of_its_own_is_more(text: str) -> None:
    assert says_more(text, prepare(PIN))


@pytest.mark.parametrize(
    "text",
    [
        PIN,
        "How can I change the PIN of my card",
        "I want a new PIN. How do I change it?",
        "Hello! How do I change my PIN? Thanks.",
        "",
    ],
)
def test_the_same_request_in_several_sentences_is_not_more(text: str) -> None:
    assert not says_more(text, prepare("I want to change my PIN, a new PIN. How do I change it?"))
