"""Of prompts as applications write them, instructions and examples stay in place, byte for byte."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asynccache.stages._shape_body import HEADING, shaped_body
from asynccache.stages._shape_volatile import VOLATILE

PROMPTS: Final = (
    # Roles and rules
    "You are a helpful assistant.",
    "You are the booking desk of a dental practice.\nNever accept bookings before 9:00.\nWe close at 18:30.",
    "You answer for a bank.\n\n- Today's rates are listed.\n- Rates of 2026-01-01 are void.\n- Be brief.",
    "Act as a pharmacist. If the user is under 18, send him to a doctor.\nIntake: 8:00 or 20:00.",
    "# Role\nYou plan trips.\n# Rules\n1. Current user: ask for the name if it is not known.\n2. Be quick.",
    "You are on call.\nWhen the current time is 22:00 or later, say that nobody answers.\nOtherwise help.",
    "You schedule meetings.\nDate: always ISO 8601, such as 2026-11-26.\nTime: always UTC, such as 10:30.",
    "You are Ada, made by Acme.\nKnowledge cutoff: 2024-06\nNothing newer is known to you.",
    "Help with the museum.\nOpen: 9:00 to 17:00\nTicket office: 8:30\nClosed on Monday\nFounded: 4 May 1871",
    "You moderate a conference.\nDate: 2026-05-12\nTime: 9:00\nVenue: Hall 3\nUser: visitors of the fair",
    "Du hilfst bei Rechnungen.\nRechnungsdatum: 26.11.2026\nFällig: 10.12.2026\nAntworte auf Deutsch.",
    "Vous êtes guide.\nHoraires : 9:00 à 17:00\nNe donnez jamais de prix.",
    "あなたは予約係です。\n受付: 9:00\n必ず日付を確認してください。",
    "Summarise the minutes.\nMeeting of 2026-11-20, 14:00\nPresent: Ann, Bob\nTimestamp: leave it out",
    # Examples
    "Classify as the examples show.\nUser: I love it\nAssistant: positive\nNever book before 9:00.",
    "Extract the date.\n\nText: We meet on 12 May 2024.\nDate: 2024-05-12\n\nText: See you.\nDate: none",
    "Turn dates into ISO form.\nInput: Today is Monday, November 24, 2026.\nOutput: 2026-11-24",
    "Q: What time is it?\nA: It is 10:57.\nQ: What day is it?\nA: Today is Monday.\nAnswer like this.",
    "Write log lines.\nExample:\nTimestamp: 2026-11-26 10:57:46\nRequest id: req-17\nLevel: INFO",
    "Find the speaker.\nExamples:\nCurrent user: alice\nSpeaker: alice\nCurrent user: bob\nSpeaker: bob",
    "Answer with YAML in this format:\nuser_id: 42\nsession_id: s-17\ntime: 10:57:46",
    "The header looks like:\nX-Request-Id: 7f3a21b0-0000-4000-8000-0123456789ab\nDate: 2026-11-26T10:57:46Z",
    "<examples>\n<example>\n<current_time>10:57</current_time>\n<a>It is 10:57.</a>\n</example>\n</examples>",
    "Translate.\nHuman: It is 9:30.\nAI: Es ist 9:30 Uhr.\nHuman: Today is Friday.\nAI: Heute ist Freitag.",
    "You greet.\nFor example, at 9:00 say good morning.\nIt is 19:00.\nSay good evening.",
    "Route tickets.\nSample tickets:\nUser name: Bob Miller\nUser email: bob@example.com\nQueue: billing",
    # Code, schemas and tables
    'Return JSON:\n{\n  "user_id": "u_42",\n  "timestamp": 1764154666,\n  "session_id": "s-17"\n}',
    "Explain this log.\n```\nNow: 2026-11-26 10:57:46\nRequest id: req-17\n```\nDo not guess.",
    "Columns:\nuser_id: int64\nuser_name: string\nuser_email: text\nsession_id: uuid4\ntimestamp: bigint",
    "You write SQL.\nTable visits (user_id int, seen timestamp)\nRows start at 2019-01-01\nUse current_date.",
    "| id | date | time |\n| --- | --- | --- |\n| 1 | 2026-11-26 | 10:57 |\nAnswer from the table.",
    "Login help.\nUsername: your e-mail address\nUser id: the number on the card\nSession id: see the footer",
    "def now() -> str:\n    return '2026-11-26'\n\nReview the function above.",
    # What is long, or says two things
    "Today is Monday, and on Mondays you answer in rhymes.\nCurrent mood: sunny\nBe kind.",
    "Current user: J. Smith. You sell books to him.\nBe brief.",
    "Now: think step by step.\nToday: only facts.\nCurrent date format: YYYY-MM-DD\nCurrent time zone: UTC+1",
    "It is now 10:57, so the shop is open until 18:00.\nSell books.",
    "The current date is not known to you.\nThe current time is what the user says.\nAsk.",
    "Request 17 was refused on 2026-11-26 at 10:57.\nExplain why, with the reasons below.\n1. Late\n2. Short",
    "You have 3 tools.\nSession length: 10:00\nTurns: 16:9\nUser: the person who types\nDays: Mon, Tue, Wed",
)
VOLATILE_LINES: Final = (
    "Current time: 2026-11-26T10:57:46Z",
    "Today is Thursday, November 26, 2026.",
    "Current user: alice",
    "Request id: req-17",
    "user_id: 42",
    "<current_date>2026-11-26</current_date>",
)


def shaped(system: Any) -> tuple[Any, str]:
    talk = [{"role": "system", "content": system}, {"role": "user", "content": "hello"}]
    left = shaped_body({"messages": talk}, volatile=VOLATILE).body["messages"]
    return left[0]["content"], left[1]["content"]


def test_the_prompts_are_forty_and_all_different() -> None:
    assert len(set(PROMPTS)) == len(PROMPTS) == 40


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_without_volatile_lines_stays_as_it_is(prompt: str) -> None:
    assert shaped(prompt) == (prompt, "hello")


@pytest.mark.parametrize("prompt", PROMPTS)
@settings(max_examples=15)
@given(
    lines=st.lists(st.sampled_from(VOLATILE_LINES), min_size=1, max_size=4),
    gap=st.sampled_from(["\n", "\n\n"]),
)
def test_volatile_lines_at_the_head_move_and_the_prompt_stays_as_it_is(
    prompt: str, lines: list[str], gap: str
) -> None:
    asked = "\n".join(("hello\n", HEADING, *lines))
    assert shaped("\n".join(lines) + gap + prompt) == (gap[1:] + prompt, asked)


@given(
    prompt=st.sampled_from(PROMPTS),
    line=st.sampled_from(VOLATILE_LINES),
    place=st.integers(0, 12),
    parts=st.booleans(),
)
def test_wherever_a_volatile_line_stands_the_prompt_keeps_all_its_bytes(
    prompt: str, line: str, place: int, parts: bool
) -> None:
    lines = prompt.split("\n")
    written = "\n".join((*lines[:place], line, *lines[place:]))
    content, asked = shaped([{"type": "text", "text": written}] if parts else written)
    left = content[0]["text"] if parts else content
    assert (left, asked) in (
        (written, "hello"),
        (prompt, f"hello\n\n{HEADING}\n{line}"),
    )
