"""When two numbers, dates or times in answers are the same."""

from __future__ import annotations

import pytest

from asynccache.decision._answer_quantities import agree, quantities
from asynccache.decision._answer_text import says


def only(text: str) -> list[bool]:
    """Whether each quantity of the first half agrees with that of the second, by place."""
    one, other = (quantities(says(half)) for half in text.split("|"))
    assert len(one) == len(other) > 0
    return [agree(*both) for both in zip(one, other, strict=True)]


@pytest.mark.parametrize(
    "text",
    [
        "6.2 miles | 6.21 mi",
        "178 cm | 177.8 cm",
        "8,849 m | 8848.86 metres",
        "384,400 km | about 384,000 kilometres",
        "149.6 million km | about 150 million km",
        "1.5 km | 1500 m",
        "14 days | two weeks",
        "36 months | 3 years",
        "€10,000 | 10000 euros",
        "15 % | 15 percent",
        "100 °C | 100 degrees Celsius",
        "9 pm | 21:00",
        "9.30 am | 09:30",
        "noon | 12:00",
        "8 May 1945 | May 8th, 1945",
        "2021-03-03 | 3 March 2021",
        "July 1969 | 20 July 1969",
        "in 1991 | 3 July 1991",
        "the third floor | the 3rd floor",
        "2,5 kg | 2.5 kg",
    ],
)
def test_the_same_quantity_in_another_spelling_agrees(text: str) -> None:
    assert all(only(text))


@pytest.mark.parametrize(
    "text",
    [
        "10 km | 100 km",
        "10 km | 10 miles",
        "5 mg | 5 g",
        "100 °C | 100 °F",
        "13 | 13.5",
        "100 | 101",
        "1000 bytes | 1024 bytes",
        "105 kcal | 95 kcal",
        "9 am | 9 pm",
        "10:42 | 10:24",
        "3 March 2021 | 13 March 2021",
        "8 May 1945 | 8 May 1946",
        "in 1991 | in 1995",
        "30 days | 30 %",
        "-18 °C | 18 °C",
        "$5 | €5",
        "six minutes | 11 minutes",
    ],
)
def test_another_quantity_does_not_agree(text: str) -> None:
    assert not any(only(text))
