"""What a text measures in, and which number has which unit. Pure."""

from __future__ import annotations

import re
from typing import Final

from asynccache.decision._guard_words import NUMBERS, listed

__all__ = ["UNITS", "units_of"]

_UNIT_WORDS: Final = {
    "millisecond": "millisecond milliseconds",
    "second": "seconds",
    "minute": "minute minutes mins",
    "hour": "hour hours hr hrs hourly",
    "day": "day days daily",
    "week": "week weeks weekly",
    "fortnight": "fortnight fortnights fortnightly",
    "month": "month months monthly",
    "quarter": "quarterly",
    "year": "year years yr yrs yearly annual annually",
    "decade": "decade decades",
    "century": "century centuries",
    "mile": "mile miles",
    "kilometre": "kilometer kilometers kilometre kilometres km kms",
    "metre": "meter meters metre metres",
    "centimetre": "centimeter centimeters centimetre centimetres cm cms",
    "millimetre": "millimeter millimeters millimetre millimetres mm",
    "inch": "inch inches",
    "foot": "feet",
    "yard": "yard yards",
    "mile/h": "mph",
    "kilometre/h": "kmh kph",
    "kilogram": "kilogram kilograms kilogramme kilo kilos kg kgs",
    "gram": "gram grams gramme grammes",
    "milligram": "milligram milligrams mg",
    "pound": "pound pounds",
    "lb": "lb lbs",
    "ounce": "ounce ounces oz",
    "ton": "ton tons",
    "tonne": "tonne tonnes",
    "litre": "liter liters litre litres",
    "millilitre": "milliliter milliliters millilitre millilitres ml",
    "gallon": "gallon gallons",
    "pint": "pint pints",
    "cup": "cups",
    "tablespoon": "tablespoon tablespoons tbsp",
    "teaspoon": "teaspoon teaspoons tsp",
    "dollar": "dollar dollars usd bucks $",
    "cent": "cent cents",
    "euro": "euro euros eur €",
    "sterling": "gbp sterling £",
    "pence": "pence penny",
    "yen": "yen jpy ¥",
    "yuan": "yuan rmb cny renminbi",
    "rupee": "rupee rupees inr ₹ rs",
    "won": "krw ₩",
    "franc": "franc francs chf",
    "peso": "peso pesos mxn",
    "bitcoin": "bitcoin bitcoins btc ₿",
    "percent": "percent percentage pct %",
    "celsius": "celsius centigrade",
    "fahrenheit": "fahrenheit",
    "kelvin": "kelvin",
    "degree": "degrees °",
    "bit": "bits",
    "byte": "byte bytes",
    "kilobyte": "kilobyte kilobytes kb",
    "megabyte": "megabyte megabytes mb",
    "gigabyte": "gigabyte gigabytes gb",
    "terabyte": "terabyte terabytes tb",
    "megabit/s": "mbps",
    "gigabit/s": "gbps",
    "watt": "watt watts",
    "kilowatt": "kilowatt kilowatts kw",
    "kilowatt hour": "kwh",
    "volt": "volt volts",
    "ampere": "amp amps ampere amperes",
    "hertz": "hertz hz",
    "kilohertz": "kilohertz khz",
    "megahertz": "megahertz mhz",
    "gigahertz": "gigahertz ghz",
    "joule": "joule joules",
    "calorie": "calorie calories kcal",
    "hectare": "hectare hectares",
    "acre": "acre acres",
}
UNITS: Final = {word: unit for unit, words in _UNIT_WORDS.items() for word in words.split()}

_AFTER_NUMBER: Final = {
    "ms": "millisecond", "s": "second", "sec": "second", "secs": "second", "second": "second",
    "min": "minute", "h": "hour", "d": "day", "m": "metre", "mi": "mile", "ft": "foot", "foot": "foot",
    "yd": "yard", "g": "gram", "t": "tonne", "l": "litre", "cl": "centilitre", "dl": "decilitre",
    "c": "celsius", "f": "fahrenheit", "v": "volt", "w": "watt", "a": "ampere", "p": "pence",
    "cup": "cup",
    "pt": "pint", "stone": "stone", "degree": "degree", "bit": "bit", "b": "byte", "st": "stone",
    "px": "pixel", "pixels": "pixel",
}  # fmt: skip
"""What a word or letter means behind a number only."""

_TOKENS: Final = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[%$€£¥₹₩₿°]")
_MONEY: Final = frozenset(listed("dollar euro sterling yen yuan rupee won franc peso bitcoin cent pence"))
_WRITTEN_SMALL: Final = frozenset("abcdfghlmpstvw")
"""Letters that are units behind a number, but mostly other things as capitals: "5 M" are millions."""
_WRITTEN_LARGE: Final = frozenset("ABCFVWL")


def units_of(text: str) -> frozenset[str]:
    """Every unit, and every number together with the unit beside it.

    One unit has one name: "km", "kilometers" and "kilometres" are the same; "$" and "dollars" are.
    """
    found: list[str] = []
    number = money = ""
    degree = False
    end = -1
    for match in _TOKENS.finditer(text):
        token = match.group()
        if token[0].isdigit():
            number = token.replace(",", "")
            if money and text[end : match.start()].strip() == "":
                found[-1] = f"{number} {money}"
            end, money, degree = match.end(), "", False
            continue
        gap = text[end : match.start()]
        beside = number and (not gap or gap in {" ", "-", "\u00a0", "\u202f"})
        word = token.lower()
        unit = UNITS.get(word)
        if degree and word in {"c", "f", "celsius", "fahrenheit"}:
            unit = _AFTER_NUMBER.get(word, unit)
            found[-1] = found[-1].replace("degree", str(unit))
            unit, degree = None, False
        elif (
            unit is None
            and beside
            and (len(token) > 1 or token in (_WRITTEN_SMALL if token.islower() else _WRITTEN_LARGE))
        ):
            unit = _AFTER_NUMBER.get(word)
        if unit is not None:
            found.append(f"{number} {unit}" if beside else unit)
            degree = unit == "degree"
            money = unit if unit in _MONEY and not beside else ""
        else:
            money = ""
        if unit is None and word in NUMBERS:
            number = str(NUMBERS[word])
        elif not degree:
            number = ""
        end = match.end()
    return frozenset(found)
