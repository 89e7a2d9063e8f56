from __future__ import annotations

import random
from collections import Counter

import anyio
import openai
import pytest

from asynccache._judging import AnswerPair
from asynccache._lifespan import entered
from asynccache.cli._demo_answers import ANSWERS, answers
from asynccache.cli._demo_upstream import stand_in
from asynccache.cli._workload import questions
from asynccache.decision.equivalence import BuiltinJudge
from asynccache.embedders import as_embedder

PAIRS = 60


def test_every_intent_has_an_answer_of_its_own() -> None:
    assert set(ANSWERS) == set(questions().values())
    assert len(set(ANSWERS.values())) == len(ANSWERS)


def test_answers_of_an_intent_say_the_same_in_other_words() -> None:
    known = questions()
    said = answers(known)
    assert all(ANSWERS[known[question]] in answer for question, answer in said.items())
    of_one = {said[question] for question, intent in known.items() if intent == "age_limit"}
    assert len(of_one) > 1
    assert said == answers(known)


@pytest.mark.anyio
async def test_stand_in_gives_the_answer_of_the_intent_and_echoes_other_questions() -> None:
    question = next(iter(questions()))
    async with (
        stand_in(latency=0.0) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client,
    ):

        async def said(text: str) -> str:
            messages = [{"role": "user", "content": text}]
            made = await client.chat.completions.create(model="m", messages=messages)  # type: ignore[arg-type]
            return made.choices[0].message.content or ""

        assert await said(question) == answers(questions())[question]
        assert (await said("what is a cache")).endswith("You said: what is a cache")


def test_judge_can_tell_the_answers_of_two_intents_apart() -> None:
    known = questions()
    said, chance = answers(known), random.Random(1)
    pairs: list[tuple[bool, str, str]] = []
    for _ in range(PAIRS):
        one, other = chance.sample(list(known), 2)
        twin = chance.choice([each for each in known if known[each] == known[one] and each != one])
        pairs += [(True, one, twin), (known[one] == known[other], one, other)]
    verdicts: Counter[tuple[bool, bool | None]] = Counter()

    async def judged() -> None:
        embedder = as_embedder("default")
        async with entered(embedder):
            judge = BuiltinJudge(embedder)
            for same, one, other in pairs:
                verdicts[same, await judge(AnswerPair(one, other, said[one], said[other]))] += 1

    anyio.run(judged)
    assert verdicts[True, True] > 0.8 * PAIRS
    assert verdicts[False, False] > 0.3 * PAIRS
    assert verdicts[True, False] + verdicts[False, True] <= 2
