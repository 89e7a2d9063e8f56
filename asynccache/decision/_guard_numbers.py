"""The numbers of a text, by value: digits, words, ordinals, versions, dates, times. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from asynccache.decision._guard_words import DAYS, MONTHS, NUMBERS, SCALES, listed

__all__ = ["numbers_of"]

_GROUPERS: Final = "\u00a0\u2009\u202f'\u2019_"
_TOKENS: Final = re.compile(
    rf"""
    (?P<iso>(?<!\d)\d{{4}}-\d{{1,2}}-\d{{1,2}}(?!\d))
    | (?P<clock>(?<![\d:])[0-2]?\d:[0-5]\d(?::[0-5]\d)?(?![\d:]))(?:\s?(?P<clock_half>[ap])\.?m\b)?
    | (?P<hour>(?<![\d.,:])[01]?\d)\s?(?P<half>[ap])\.?m\b
    | (?P<slashed>(?<![\d/])\d+(?:/\d+)+)
    | (?P<digits>(?:(?<![\w.)\]%])[-\u2212])?\d+(?:[.,{_GROUPERS}]\d+)*)(?:(?P<k>k\b)|(?:st|nd|rd|th)\b)?
      (?P<percent>\s?(?:%|percent\b|per\ cent\b|pct\b))?
    | (?P<word>[^\W\d_]+)
    | (?P<sign>[+*\u00d7÷^]|(?<=\s)[-\u2212](?=\s))
    """,
    re.VERBOSE | re.IGNORECASE,
)
_THOUSANDS: Final = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d?(?:,\d\d)+,\d{3}")  # the second as in India
_DOTTED_THOUSANDS: Final = re.compile(r"[1-9]\d{0,2}(?:\.\d{3}){2,}")
_ROMAN: Final = re.compile(r"(?=[ivx]{2})x{0,3}(?:ix|iv|v?i{0,3})")
_ROMAN_DIGITS: Final = {"i": 1, "v": 5, "x": 10}
_FRACTIONS: Final = str.maketrans(
    {"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3", "²": " 2", "³": " 3"}
)
_OTHERS: Final = {
    "half": "1/2", "twice": "2x", "double": "2x", "triple": "3x", "noon": "12:00", "midnight": "0:00",
    "hundreds": "hundreds", "thousands": "thousands", "millions": "millions", "billions": "billions",
    "dozens": "dozens", "plus": "+", "minus": "-", "divided": "÷", "multiplied": "\u00d7", "quarter": "1/4",
}  # fmt: skip
_SIGNS: Final = {"*": "\u00d7", "\u2212": "-"}
_BEFORE_PRONOUN: Final = frozenset(
    listed("""
    which that this the no any every each some another other good best better new can could should does do did
    would must will may might how
    """)
)
_AFTER_PRONOUN: Final = frozenset(listed("of is can should who that must would could does do has another s"))
_INTERESTING: Final = frozenset(
    [*NUMBERS, *(word for word in SCALES if word != "k"), *MONTHS, *DAYS, *_OTHERS, "and", "times"]
)
_TEN: Final = 10
_HUNDRED: Final = 100
_GROUP: Final = 3
"""Digits between two thousands separators."""
_ORDERED: Final = frozenset("-÷^")
"""With these, it matters which number is first."""


def numbers_of(text: str) -> tuple[str, ...]:
    """Every number by its value, sorted; as they stand where some are subtracted or divided.

    The same value has one spelling: "1,000", "1000" and "a thousand" are "1000", "5 percent" is "5%",
    "10:30 pm" is "22:30", and 2024-01-05 has the same as January 5th, 2024. "3.10" and "3.1" are two, as are
    "007" and "7".
    """
    if not text.isascii():
        text = text.translate(_FRACTIONS)
    reading = _Reading()
    end = 0
    previous = ""
    for match in _TOKENS.finditer(text):
        kind = match.lastgroup
        if kind == "word":
            raw = match.group()
            word = raw.lower()
            if word in _INTERESTING:
                near = end == match.start() or text[end : match.start()].strip(" ") in {"", "-"}
                reading.word(
                    word, raw, previous if end else "", text[match.end() : match.end() + 12], near=near
                )
            else:
                reading.pause()
                if "i" in word or "x" in word or "v" in word:
                    value = _roman(word)
                    if value:
                        reading.values.append(str(value))
            previous = word
        else:
            reading.other(match, previous=previous, text=text)
            previous = "#" if kind != "sign" else ""
        end = match.end()
    reading.pause()
    values = reading.values
    return tuple(values if _ORDERED.intersection(values) else sorted(values))


class _Reading:
    """Puts number words together, from left to right."""

    def __init__(self) -> None:
        self.values: Final[list[str]] = []
        self._sum = self._part = Decimal(0)  # what was read of a compound number
        self._last = ""  # its last piece: "", "unit", "tens", "scale" or "digits"

    def pause(self) -> None:
        """No part of a compound number comes next."""
        if self._last:
            self.values.append(_plain(self._sum + self._part))
            self._sum = self._part = Decimal(0)
            self._last = ""

    def word(self, word: str, raw: str, previous: str, after: str, *, near: bool) -> None:
        if not near:
            self.pause()
        if word in NUMBERS:
            time = word == "second" and (previous in {"#", "per"} or previous in NUMBERS)
            pronoun = word == "one" and (previous in _BEFORE_PRONOUN or _next_word(after) in _AFTER_PRONOUN)
            if time or pronoun:
                self.pause()
            else:
                self._number(NUMBERS[word])
        elif word in SCALES:
            self._scale(SCALES[word])
        elif word == "and":
            if self._last != "scale":
                self.pause()
        else:
            self.pause()
            self._date_or_other(word, raw, previous, after)

    def _number(self, value: int) -> None:
        fits = self._last == "scale" or (self._last == "tens" and 0 < value < _TEN)
        if self._last and not fits:
            self.pause()
        self._part += value
        self._last = "tens" if value >= 2 * _TEN else "unit"

    def _scale(self, value: int) -> None:
        if not self._last:
            self._part = Decimal(1)
        if value == _HUNDRED and self._part < _HUNDRED:
            self._part *= value
        else:
            self._sum += (self._part or 1) * value
            self._part = Decimal(0)
        self._last = "scale"

    def _date_or_other(self, word: str, raw: str, previous: str, after: str) -> None:
        if word == "times":
            if previous == "#" or previous in NUMBERS:
                self.values.append("\u00d7")
        elif word in _OTHERS:
            self.values.append(_OTHERS[word])
        elif word in DAYS:
            self.values.append(DAYS[word])
        elif word not in {"may", "march", "mar"} or previous == "#" or _dated(raw, previous, after):
            self.values.append(f"month {MONTHS[word]}")

    def other(self, match: re.Match[str], *, previous: str, text: str) -> None:
        kind = match.lastgroup
        if kind in {"digits", "k", "percent"}:
            self._digits(match, text)
            return
        self.pause()
        if kind == "sign":
            sign = match.group()
            after = text[match.end() : match.end() + 2]
            if previous == "#" or (after[:1] == " " and after[1:].isdigit()):
                self.values.append(_SIGNS.get(sign, sign))
        elif match["iso"]:
            year, month, day = match["iso"].split("-")
            self.values.extend((str(int(year)), f"month {int(month)}", str(int(day))))
        elif match["slashed"]:
            self.values.append("/".join(part.lstrip("0") or "0" for part in match["slashed"].split("/")))
        else:
            hour, _, rest = (match["clock"] or match["hour"]).partition(":")
            half = match["clock_half"] or match["half"]
            on_clock = int(hour) % 12 + (12 if half.lower() == "p" else 0) if half else int(hour)
            self.values.append(f"{on_clock}:{rest or '00'}")

    def _digits(self, match: re.Match[str], text: str) -> None:
        self.pause()
        found = _values(match["digits"].replace("\u2212", "-"))
        money = match.start() > 0 and text[match.start() - 1] in "$€£¥₹"
        if match["k"]:
            found = [_plain(Decimal(each) * 1000) if _is_decimal(each) else f"{each}k" for each in found]
        elif money or match["percent"]:
            found = [_plain(Decimal(each)) if _is_decimal(each) else each for each in found]
        if match["percent"]:
            found[-1] += "%"
        elif len(found) == 1 and _is_decimal(found[0]) and _scaled(text, match.end()):
            self._part, self._last = Decimal(found[0]), "digits"
            return
        self.values.extend(found)


def _next_word(after: str) -> str:
    found = re.match(r"[\s'\u2019]*([a-z]+)", after.lower())
    return found.group(1) if found else ""


def _dated(raw: str, previous: str, after: str) -> bool:
    """Whether "may" or "march" is the month: a number follows, or it is written large within a sentence."""
    return bool(re.match(r",?\s*\d", after)) or (raw[0].isupper() and raw[1:].islower() and previous != "")


def _scaled(text: str, at: int) -> bool:
    return _next_word(text[at : at + 12]) in SCALES


def _values(digits: str) -> list[str]:
    """The numbers that digits with separators in between stand for."""
    for sign in _GROUPERS:
        digits = digits.replace(sign, "")
    dots, commas = digits.count("."), digits.count(",")
    sign, bare = ("-", digits[1:]) if digits[0] == "-" else ("", digits)
    if dots and commas:
        point = "." if bare.rfind(".") > bare.rfind(",") else ","
        bare = bare.replace("," if point == "." else ".", "").replace(point, ".")
    elif commas:
        if _THOUSANDS.fullmatch(bare):
            bare = bare.replace(",", "")
        elif commas == 1:
            bare = bare.replace(",", ".")
        else:
            return bare.split(",")
    elif dots > 1 and _DOTTED_THOUSANDS.fullmatch(bare):
        bare = bare.replace(".", "")
    whole, point, rest = bare.partition(".")
    if point and rest.strip("0") == "" and len(rest) != _GROUP:  # "1.000" may be one or a thousand
        bare = whole
    return [sign + (bare if bare.isascii() else "".join(str(int(c)) if c.isdigit() else c for c in bare))]


def _is_decimal(value: str) -> bool:
    return value.count(".") <= 1


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _roman(word: str) -> int:
    if not _ROMAN.fullmatch(word):
        return 0
    digits = [_ROMAN_DIGITS[letter] for letter in word]
    following = [*digits[1:], 0]
    return sum(-one if one < other else one for one, other in zip(digits, following, strict=True))
