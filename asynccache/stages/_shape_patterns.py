"""What tells a line about the present request from instructions and examples."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["EXAMPLE", "INSTRUCTION", "VOLATILE"]

_DATE: Final = r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
_CLOCK: Final = r"(?:[01]?\d|2[0-3]):[0-5]\d"
_SECONDS: Final = _CLOCK + r":[0-5]\d(?:[.,]\d{1,9})?"
_EPOCH: Final = r"1\d{9}(?:\d{3}|\.\d{1,9})?"
_OFFSET: Final = r"\+(?:0\d|1[0-4]):?[0-5]\d|-(?:0\d|1[0-2]):?[0-5]\d"
_ZONE: Final = rf"(?:z|utc|gmt|[a-z]{{1,2}}[ds]t)(?:[+-]\d\d?(?::?\d\d)?)?|{_OFFSET}"
_MONTH: Final = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_DAY: Final = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|mon|tue|wed|thu|fri|sat|sun"
_WRITTEN: Final = rf"{_MONTH}\s\d\d?(?:st|nd|rd|th)?|\d\d?(?:st|nd|rd|th)?\s(?:of\s)?{_MONTH}"
_SLASHED: Final = r"\d\d?[./]\d\d?[./](?:\d{4}|\d\d)"
_NUMERIC: Final = rf"{_DATE}(?:t|\s)?(?:{_SECONDS}|{_CLOCK})?|{_SECONDS}|{_CLOCK}|{_EPOCH}|{_SLASHED}"
_MOMENT: Final = rf"(?:(?:{_NUMERIC})(?:{_ZONE})?(?!\w)|(?:{_WRITTEN}|{_DAY})(?!\w))"
_DATED: Final = rf"{_DATE}(?:t|\s)|(?:(?:{_DAY}),?\s)?(?:{_WRITTEN})\s\d{{4}}\s"
_EXACT: Final = rf"(?:(?:{_DATED})?{_SECONDS}(?:{_ZONE})?(?!\w)|{_EPOCH}(?!\w))"

# Nothing but dates, times, what joins them, and a tag that ends may follow: a line says one thing only.
_JOIN: Final = (
    r"at|on|of|in|and|the|it|is|now|current|local|time|date|day|week|year|am|pm|a\.m|p\.m"
    r"|\d{4}|(?-i:[A-Z][a-z]+/[A-Z][A-Za-z_]+)|(?-i:[A-Z]{2,4}T)"
)
_SPAN: Final = rf"[-\u2013\u2014]\s*{_CLOCK}"  # to the end of opening hours
_TAIL: Final = rf"(?:(?:{_ZONE}|{_MOMENT}|{_JOIN})(?!\w)|(?!{_SPAN})[^\w<]|</[\w-]{{1,40}}>)*+$"
_HEAD: Final = r"^[^\w\"'{\[]{0,12}"
_IS: Final = r"[^\w:=>]{0,4}(?:[:=>]|\bis\b)[\s*_`\"'(]{0,4}"
_OF: Final = r"(?:\s*\([^()]{1,20}\)|\s(?:now|utc|gmt|in\s[\w/]{2,30}))?"
_TIMES: Final = r"(?:date\s?(?:and|&|/|_)?\s?time|date|time|day|timestamp)"
_CARDS: Final = r"(?:request|trace|span|session|correlation|conversation|transaction|user)"
_UUID: Final = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_NO_VALUE: Final = r"(?!(?:your|the|an?|any|at|as|str|string|text|none|null|required|optional)\b)"
_END: Final = r"(?:</[\w-]{1,40}>)?\W{0,4}$"
_WORD: Final = r"[^\s.!?:;,|<>]"
_NAME: Final = rf"{_NO_VALUE}(?:{_WORD}+|(?-i:[^\Wa-z]{_WORD}*(?:\s[^\Wa-z]{_WORD}*){{1,2}})){_END}"
_MAIL: Final = rf"[^\s@<>]+@[^\s@<>]+{_END}"


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(_HEAD + pattern, re.IGNORECASE)


VOLATILE: Final[tuple[re.Pattern[str], ...]] = (
    # Current date: 2026-11-26 / The current time in Rome is 10:57 / Today's date is Monday
    _compiled(
        r"(?:the\s)?(?:current|present|today['\u2019]s|local|server|system)[\s_-](?:local\s|utc\s)?"
        rf"{_TIMES}{_OF}{_IS}(?:now\s)?{_MOMENT}{_TAIL}"
    ),
    # Today is Monday / Now: 10:57 / It is now 10:57 / The time is 10:57
    _compiled(
        rf"(?:today{_IS}(?!{_CLOCK})(?:an?\s|the\s)?|now{_IS}|it(?:'s|\sis)\s(?:now\s|currently\s|(?={_DATE}))"
        rf"|the\s(?:date|time)\sis\s(?:now\s)?){_MOMENT}{_TAIL}"
    ),
    # Timestamp: 1764154666 / Request time: 10:57 / Generated at: 2026-11-26
    _compiled(
        r"(?:timestamp|ts|request[\s_-](?:date|time|timestamp)|(?:generated|requested)[\s_-](?:at|on))"
        rf"(?:{_IS}|\s){_MOMENT}{_TAIL}"
    ),
    # Time: 10:57:46; without seconds it may be the time of anything
    _compiled(rf"{_TIMES}{_IS}{_EXACT}{_TAIL}"),
    # Request id: abc-1; the name of a type is none
    _compiled(
        rf"(?:x-)?{_CARDS}[\s_-]?(?:id|uuid){_IS}#?"
        r"(?!(?:u?int|float|uuid|str|char|varchar|bigint)\w*\W*$)"
        rf"(?=[^\s<]*\d)[\w.:@/+=-]+{_END}"
    ),
    # Session 7f3a21b0-0000-4000-8000-0123456789ab
    _compiled(rf"{_CARDS}[\s_-]?(?:id\b|uuid\b)?(?:{_IS}|\s){_UUID}{_END}"),
    # Current user: alice / Logged-in user's name is Bob
    _compiled(
        r"(?:the\s)?(?:current|logged[\s-]?in|signed[\s-]?in|authenticated)[\s_-]user"
        rf"(?:'s)?(?:[\s_-]?(?:id|name|e-?mail))?{_IS}(?:{_NAME}|{_MAIL})"
    ),
    # User name: bob / user_email: bob@example.com
    _compiled(rf"user[\s_-]?name(?!\W*is\b){_IS}{_NAME}"),
    _compiled(rf"user[\s_-]?e-?mail{_IS}{_MAIL}"),
)
"""What tells a volatile line, by default: all of it is about the present request, and says what it is."""

INSTRUCTION: Final = re.compile(
    r"\b(?:never|always|must|mustn't|do\snot|don't|only|if|when|whenever|unless|until|before|after|should"
    r"|shall|cannot|can't|please|use|using|answer|reply|respond|say|tell|ask|write|return|give|treat|assume"
    r"|remember|avoid|ensure|make\ssure|refuse|accept|refer|consider|keep)\b",
    re.IGNORECASE,
)
"""Found in a line that tells what to do."""

EXAMPLE: Final = re.compile(
    r"(?<![\w.@-])(?:examples?|samples?|few-shot|for\sinstance|like\sthis)\b(?!\.\w)|\be\.g\."
    r"|\b(?:format|template|schema|structure|fields?|follows|following|like)\b[^.]{0,80}:\W*$"
    r"|^\W*(?:user|human|assistant|bot|ai|q|a|question|answer|input|output|text)(?:\s\d+)?\W{0,4}[:>]",
    re.IGNORECASE,
)
"""Found in a line that announces an example, or is a turn of one."""
