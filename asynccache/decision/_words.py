"""Words that say how a question is put, and not what it is about; and how each is read."""

# ruff: noqa: E501, SIM905 - lists of words

from __future__ import annotations

from typing import Final

__all__ = ["CLASS", "CONTRACTED", "FILLER", "NUMBERS", "SAME", "UNIT_KIND"]

FILLER: Final = frozenset(
    """
    a an the please pls plz kindly thanks thank hi hello hey dear ok okay well so oh um uh hmm really
    very actually
    basically literally simply there 's 'm 're 've 'd am is are be been being do does has have having as
    """.split()
)
"""Left out: they change the tone of a question, or only its grammar."""

_CLASSES: Final = {
    "wh": "what which who why when where how whose",
    "not": "not no never nor neither none nothing nobody nowhere without cannot hardly barely",
    "quantity": """
        all every each any some only just except but many much few little several more most less least
        fewer both
        half double either enough too first last next other another same different again still already
        yet ever
        always often sometimes usually once twice per exactly almost about least entire whole also even else
        """,
    "modal": "can should will may must would",
    "tense": "was did had",
    "person": "i you he she it they this that these those",
    "direction": """
        from to into onto off out up down before after over under above below within between among
        against during
        since until till than through across beyond behind inside outside ahead per via despite
        """,
    "link": "of in on at for with by about around near and or if then because while whether so though although",
}
CLASS: Final = {word: name for name, words in _CLASSES.items() for word in words.split()}
"""Closed classes; everything else is content. A word in several belongs to the last."""

SAME: Final = {
    "me": "i", "my": "i", "mine": "i", "myself": "i", "we": "i", "us": "i", "our": "i", "ours": "i", "im": "i",
    "ourselves": "i", "your": "you", "yours": "you", "yourself": "you", "u": "you", "ur": "you", "him": "he",
    "his": "he", "himself": "he", "her": "she", "hers": "she", "herself": "she", "its": "it", "itself": "it",
    "them": "they", "their": "they", "theirs": "they", "themselves": "they", "whom": "who", "could": "can",
    "ought": "should", "shall": "will", "gonna": "will", "might": "may", "were": "was", "done": "did",
    "till": "until", "upon": "on", "toward": "to", "towards": "to", "thru": "through", "vs": "or", "versus": "or",
    "cause": "because", "amid": "among", "amongst": "among", "alongside": "with", "cos": "because", "wanna": "want",
    "gotta": "must", "everyone": "everybody", "someone": "somebody", "anyone": "anybody", "nope": "no",
    "w/o": "without", "w/": "with", "&": "and", "cuz": "because", "sans": "without", "wo": "will", "ca": "can",
    "'ll": "will", "n't": "not", "whats": "what", "hows": "how", "wheres": "where", "whos": "who", "whens": "when",
    "til": "until", "except": "except", "excluding": "except", "regarding": "about", "concerning": "about",
}  # fmt: skip
"""Spellings and cases of one closed-class word."""

CONTRACTED: Final = {
    word.replace("'", ""): base
    for word, base in {
        "don't": "do", "doesn't": "do", "didn't": "did", "isn't": "is", "aren't": "are", "wasn't": "was",
        "weren't": "were", "won't": "will", "can't": "can", "couldn't": "could", "shouldn't": "should",
        "wouldn't": "would", "hasn't": "has", "haven't": "have", "hadn't": "had", "ain't": "is",
    }.items()
}  # fmt: skip
"""Written without the apostrophe: each also says "not"."""

NUMBERS: Final = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14",
    "fifteen": "15", "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20",
    "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90",
    "hundred": "100", "thousand": "1000", "million": "1000000", "billion": "1000000000", "dozen": "12",
    "ii": "2", "iii": "3", "iv": "4",
}  # fmt: skip

_UNITS: Final = {
    "time": "second minute hour day week month year decade century millisecond sec min hr yr am pm quarter",
    "calendar": """
        monday tuesday wednesday thursday friday saturday sunday january february march april june july august
        september october november december today tomorrow yesterday tonight morning afternoon evening
        night noon
        midnight weekend spring summer autumn winter jan feb mar apr jun jul aug sep sept oct nov dec
        mon tue wed
        thu fri sat sun
        """,
    "length": "mile kilometer kilometre km meter metre cm centimeter mm inch foot feet yard",
    "mass": "pound lb kilogram kilo kg gram ounce oz ton tonne stone",
    "volume": "liter litre gallon pint ml cup quart tablespoon teaspoon",
    "money": """
        dollar euro rupee yen cent pence penny peso franc yuan usd eur gbp inr jpy lakh crore bitcoin
        sterling bucks
        $ € £ ¥ ₹
        """,
    "degree": "celsius fahrenheit kelvin degree percent %",
    "data": "kb mb gb tb byte bit kilobyte megabyte gigabyte terabyte mbps gbps",
    "power": "watt volt amp kw hz mhz ghz joule calorie",
}
UNIT_KIND: Final = {word: kind for kind, words in _UNITS.items() for word in words.split()}
"""What a word measures: two units of one kind are never the same."""
