"""What the judge takes: vectors, threads and time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from asynccache._errors import EmbedderUnavailable, TextRefused
from asynccache._judging import AnswerPair
from asynccache.decision import _builtin_judge
from asynccache.decision._answer_case import open_case
from asynccache.decision.equivalence import BuiltinJudge
from asynccache.testing import FakeEmbedder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

pytestmark = pytest.mark.anyio


def pair(
    fresh: str, stored: str, asked: str = "what is it", stored_for: str = "tell me what it is"
) -> AnswerPair:
    return AnswerPair(asked, stored_for, fresh, stored)


class Refusing(FakeEmbedder):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        await super().embed(texts)
        raise self.error


@pytest.mark.parametrize("error", [EmbedderUnavailable("down"), TextRefused("too long")])
async def test_without_vectors_the_words_decide(error: Exception) -> None:
    embedder = Refusing(error)
    found = pair("42 apples", "The answer is 17 pears.", "6 times 7", "16 plus 1")
    assert await BuiltinJudge(embedder)(found) is await BuiltinJudge()(found) is False
    assert len(embedder.calls) == 1


async def test_the_embedder_is_asked_once_for_bounded_pieces_of_long_answers() -> None:
    embedder = FakeEmbedder()
    sentence = "The committee has met {} times and found no fault with the plan. "
    one = "".join(sentence.format(n) for n in range(300))
    other = "".join(sentence.format(n) for n in range(500, 800))
    await BuiltinJudge(embedder)(pair(one, other))
    (texts,) = embedder.calls
    assert texts[:2] == ("what is it", "tell me what it is")
    assert len(texts) == 10
    assert max(map(len, texts)) <= 400


async def test_sure_cases_cost_no_embedding() -> None:
    embedder = FakeEmbedder()
    judge = BuiltinJudge(embedder)
    assert await judge(pair("Yes", "No")) is False
    assert await judge(pair("Paris", "paris")) is True
    assert embedder.calls == []


async def test_reading_answers_leaves_the_event_loop_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    read = open_case

    def reading(found: AnswerPair) -> object:
        threads.append(threading.current_thread())
        return read(found)

    monkeypatch.setattr(_builtin_judge, "open_case", reading)
    await BuiltinJudge()(pair("a long answer " * 500, "another long answer " * 500))
    assert threads
    assert threading.current_thread() not in threads


@pytest.mark.parametrize(
    "text",
    [
        "*a " * 5000,
        "[" * 8000,
        "1 " * 6000,
        "111 " * 4000,
        "9" * 9000,
        "a.b" * 3000,
        "`" * 9000,
        "\n" * 9000 + "x",
        "> " * 5000 + "x",
        "{" * 5000,
        "[" * 5000 + "]" * 5000,
        '"' + "\\" * 9000,
        "\ud800 lone",
        "no " * 4000,
        "https://" * 1500,
        "a@" * 4000,
    ],
    ids=range(16),
)
@pytest.mark.timeout(20)
async def test_hostile_texts_are_read_in_bounded_time_and_without_errors(text: str) -> None:
    judge = BuiltinJudge(FakeEmbedder())
    assert await judge(AnswerPair(text, "x", text + "a", text + "b c")) in {True, False, None}
    assert await judge(AnswerPair("y", text, "Paris", text)) in {True, False, None}
