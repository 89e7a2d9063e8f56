"""Numbers, dates and times of day in an answer, and when two of them are the same. Pure."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final, NamedTuple

__all__ = ["Quantity", "agree", "quantities"]


class Quantity(NamedTuple):
    """One of them."""

    kind: str
    """``"date"``, ``"time"``, ``"year"``, or a number's dimension: ``"mass"``, ``"%"``; "" without one."""
    value: float
    """In the dimension's smallest unit; minutes after midnight for a time."""
    tolerance: float
    """By how much the value may be off, the way it was written."""
    date: tuple[int, int, int] = (0, 0, 0)
    """Year, month and day, 0 for what is not said."""
    worded: bool = False
    """Written as a word: weak evidence, since words such as "second" have other uses."""


_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "january jan januar janvier enero",
            "february feb februar février febrero",
            "march mar märz mars marzo",
            "april apr avril abril",
            "may mai mayo",
            "june jun juni juin junio",
            "july jul juli juillet julio",
            "august aug août agosto",
            "september sep sept septembre septiembre",
            "october oct oktober octobre octubre",
            "november nov novembre noviembre",
            "december dec dezember décembre diciembre",
        ),
        1,
    )
    for name in names.split()
}
_UNITS: Final[dict[str, tuple[str, float]]] = {
    spelling: (kind, factor)
    for kind, factor, spellings in (
        ("length", 1e-3, "mm millimetre millimetres millimeter millimeters"),
        ("length", 1e-2, "cm centimetre centimetres centimeter centimeters"),
        ("length", 1.0, "m metre metres meter meters"),
        ("length", 1e3, "km kilometre kilometres kilometer kilometers"),
        ("mile", 1.0, "mi mile miles"),
        ("foot", 1.0, "ft foot feet"),
        ("inch", 1.0, "in inch inches"),
        ("mass", 1e-3, "mg milligram milligrams"),
        ("mass", 1.0, "g gram grams gramm"),
        ("mass", 1e3, "kg kilogram kilograms kilo kilos"),
        ("pound", 1.0, "lb lbs pound pounds"),
        ("ounce", 1.0, "oz ounce ounces"),
        ("volume", 1e-3, "ml millilitre millilitres milliliter milliliters"),
        ("volume", 1.0, "l litre litres liter liters"),
        ("cup", 1.0, "cup cups"),
        ("spoon", 3.0, "tbsp tablespoon tablespoons"),
        ("spoon", 1.0, "tsp teaspoon teaspoons"),
        ("celsius", 1.0, "°c celsius"),
        ("fahrenheit", 1.0, "°f fahrenheit"),
        ("kelvin", 1.0, "k kelvin"),
        ("%", 1.0, "% percent pct prozent"),
        ("euro", 1.0, "€ eur euro euros"),
        ("dollar", 1.0, "$ usd dollar dollars"),
        ("sterling", 1.0, "£ gbp"),
        ("yen", 1.0, "¥ jpy yen"),
        ("second", 1.0, "s sec second seconds"),
        ("second", 60.0, "min mins minute minutes minuten"),
        ("second", 3600.0, "h hr hrs hour hours stunden"),
        ("second", 86400.0, "day days tag tage tagen"),
        ("second", 604800.0, "week weeks woche wochen"),
        ("month", 1.0, "month months monat monate monaten"),
        ("month", 12.0, "year years yr yrs jahr jahre jahren"),
        ("byte", 1.0, "byte bytes"),
        ("byte", 1e3, "kb"),
        ("byte", 1e6, "mb"),
        ("byte", 1e9, "gb"),
        ("byte", 1e12, "tb"),
        ("energy", 1.0, "kwh"),
        ("speed", 1.0, "km/h kph"),
        ("mph", 1.0, "mph"),
        ("calorie", 1.0, "cal kcal calorie calories"),
    )
    for spelling in spellings.split()
}
_SCALES: Final = {"thousand": 1e3, "million": 1e6, "mio": 1e6, "billion": 1e9, "bn": 1e9, "trillion": 1e12}
_COUNTED: Final = """
    zero - two three,third four,fourth five,fifth six,sixth seven,seventh eight,eighth nine,ninth ten,tenth
    eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty
"""
_WORDS: Final = {word: value for value, names in enumerate(_COUNTED.split()) for word in names.split(",")} | {
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "ninety": 90,
}
"""Without "one", "first" and "second", which mostly count nothing."""

_MONTH: Final = "|".join(sorted(_MONTHS, key=len, reverse=True))
_NUMBER: Final = r"\d{1,3}(?:[,' ]\d{3}){1,7}(?:\.\d{1,15})?(?!\d)|\d{1,24}(?:[.,]\d{1,15})?(?!\d)"
_FOUND: Final = re.compile(
    rf"""
      (?P<iso>\b\d{{4}}-\d\d-\d\d\b)
    | (?P<dotted>\b\d{{1,2}}\.\s?\d{{1,2}}\.\s?\d{{4}}\b)
    | \b(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)?\s+(?:of\s+|de\s+)?(?P<month>{_MONTH})\b\.?
      (?:,?\s+(?:de\s+)?(?P<year>\d{{4}})\b)?
    | \b(?P<month2>{_MONTH})\b\.?\s+(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?\b(?!:)(?:,?\s+(?P<year2>\d{{4}})\b)?
    | \b(?P<month3>{_MONTH})\b\.?\s+(?P<year3>\d{{4}})\b
    | \b(?P<hour>\d{{1,2}})(?:[:.](?P<minute>\d\d))?\s?(?P<half>[ap])\.?m\b
    | \b(?P<hour2>\d{{1,2}}):(?P<minute2>\d\d)\b
    | (?P<clock>\b(?:noon|midnight)\b)
    | (?P<before>[€$£¥])?(?P<number>(?<![\w.])-?(?:{_NUMBER})|(?<=[a-z\u03b1-\u03c9])(?:{_NUMBER}))
      (?:\s?(?P<scale>thousand|million|mio|billion|bn|trillion)\b)?
      (?:[\s-]?(?:(?:business|working|calendar|us|degrees?|square|cubic)\s+)?(?P<unit>[°%€$£¥][cf]?\b|%|km/h|[a-z]+))?
    | \b(?P<word>{"|".join(_WORDS)})\b(?:[\s-](?:and\s+a\s+(?P<and>half)\s+)?
      (?:(?:business|working|us)\s+)?(?P<wunit>[a-z]+))?
    """,
    re.VERBOSE,
)
_ABOUT: Final = re.compile(
    r"(?:\b(?:about|around|roughly|approximately|approx\.?|nearly|almost|some|ca\.?)|[~≈])\s*$"
)
_YEARS: Final = range(1500, 2101)
_MOST: Final = 40
"""Quantities of one answer: each is compared with each of the other."""
_LONG: Final = 4
"""Digits from which zeros at the end may stand for digits left out."""
_ROUNDED: Final = 0.015
_LONG_ROUNDED: Final = 0.005
_ABOUT_ROUNDED: Final = 0.03
"""Shares of a number beyond which a difference is not one of rounding."""


def quantities(said: str) -> list[Quantity]:
    """Those of a text as ``says`` gives it, in order; of very many the first."""
    return [_read(match, said) for match in islice(_FOUND.finditer(said), _MOST)]


def agree(one: Quantity, other: Quantity) -> bool:
    """Whether two may be the same quantity, one perhaps rounded or said in less detail."""
    if one.kind == "date" or other.kind == "date":
        if one.kind == other.kind:
            pairs = [pair for pair in zip(one.date, other.date, strict=True) if all(pair)]
            return bool(pairs) and all(mine == theirs for mine, theirs in pairs)
        date, number = (one.date, other) if one.kind == "date" else (other.date, one)
        return number.kind == "year" and number.value == date[0]
    if one.kind != other.kind and one.kind not in {"", "year"} and other.kind not in {"", "year"}:
        return False
    if "time" in {one.kind, other.kind} and one.kind != other.kind:
        return False
    return abs(one.value - other.value) <= max(one.tolerance, other.tolerance) + 1e-9 * abs(one.value)


def _read(match: re.Match[str], said: str) -> Quantity:
    group = match.groupdict()
    if group["iso"]:
        year, month, day = map(int, group["iso"].split("-"))
        return Quantity("date", 0, 0, (year, month, day))
    if group["dotted"]:
        day, month, year = map(int, group["dotted"].split("."))
        return Quantity("date", 0, 0, (year, month, day))
    if name := group["month"] or group["month2"] or group["month3"]:
        year = int(group["year"] or group["year2"] or group["year3"] or 0)
        return Quantity("date", 0, 0, (year, _MONTHS[name], int(group["day"] or group["day2"] or 0)))
    if group["clock"]:
        return Quantity("time", 720 if group["clock"] == "noon" else 0, 0)
    if hour := group["hour"]:
        return Quantity(
            "time", int(hour) % 12 * 60 + int(group["minute"] or 0) + 720 * (group["half"] == "p"), 0
        )
    if hour := group["hour2"]:
        return Quantity("time", int(hour) * 60 + int(group["minute2"]), 0)
    if word := group["word"]:
        kind, factor = _UNITS.get(group["wunit"] or "", ("", 1.0))
        return Quantity(kind, (_WORDS[word] + 0.5 * bool(group["and"])) * factor, 0, worded=True)
    return _number(match, said)


def _number(match: re.Match[str], said: str) -> Quantity:
    text = match["number"]
    grouped = re.fullmatch(r"-?\d{1,3}(?:[,' ]\d{3})+(?:\.\d+)?", text) is not None
    plain = re.sub(r"[,' ]", "", text) if grouped else text.replace(",", ".")
    kind, factor = _UNITS.get(match["unit"] or match["before"] or "", ("", 1.0))
    if match["before"]:
        kind, factor = _UNITS[match["before"]]
    factor *= _SCALES.get(match["scale"] or "", 1.0)
    value = float(plain)
    if (
        not kind
        and factor == 1.0
        and not grouped
        and len(plain) == _LONG
        and plain.isdigit()
        and int(plain) in _YEARS
    ):
        return Quantity("year", value, 0)
    decimals = len(plain.partition(".")[2])
    about = _ABOUT.search(said[max(0, match.start() - 16) : match.start()]) is not None
    # Half of the last digit written, but little of the whole: 6.2 may be 6.21, and 13 is not 13.5.
    tolerance = min(0.5 * 10.0**-decimals, _ROUNDED * abs(value))
    if not decimals and plain.endswith("0") and (len(plain) >= _LONG or about or match["scale"]):
        zeros = len(plain) - len(plain.rstrip("0"))
        tolerance = max(
            tolerance, min(0.5 * 10.0**zeros, (_ABOUT_ROUNDED if about else _LONG_ROUNDED) * abs(value))
        )
    return Quantity(kind, value * factor, tolerance * factor)
