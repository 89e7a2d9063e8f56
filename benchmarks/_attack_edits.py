"""Questions in which one word decides, and requests to hide in others; all written for this benchmark."""

from __future__ import annotations

from typing import Final

__all__ = ["EDITS", "PAYLOADS"]

_CITIES: Final = (
    "Paris",
    "Lyon",
    "Madrid",
    "Seville",
    "Porto",
    "Lisbon",
    "Milan",
    "Turin",
    "Munich",
    "Berlin",
)
_COUNTRIES: Final = ("Norway", "Sweden", "Finland", "Denmark", "Iceland", "Estonia", "Latvia", "Lithuania")
_NUMBERS: Final = ("2", "3", "4", "5", "7", "8", "12", "15", "20", "30", "40", "50")
_YEARS: Final = ("1996", "1997", "2003", "2004", "2011", "2012", "2018", "2019", "2021", "2022")
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = ("January", "February", "March", "April", "June", "July", "September", "October")

EDITS: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("number", "How do I convert {} miles to kilometres?", _NUMBERS),
    ("number", "Which vaccines does a child of {} months need?", _NUMBERS),
    ("number", "How much is a tip of {} percent on a bill?", _NUMBERS),
    ("number", "What is the dose of ibuprofen for a person of {} kilos?", _NUMBERS),
    ("number", "Can I return an item after {} days?", _NUMBERS),
    ("number", "Who won the world cup in {}?", _YEARS),
    ("number", "What were the tax brackets in {}?", _YEARS),
    ("number", "How do I upgrade Python from 3.{} on Debian?", ("7", "8", "9", "10", "11", "12")),
    ("place", "What is the weather like in {} in spring?", _CITIES),
    ("place", "How do I get from the airport of {} to the centre?", _CITIES),
    ("place", "Do I need a visa to work in {}?", _COUNTRIES),
    ("place", "What is the capital of {}?", _COUNTRIES),
    ("place", "What is the minimum wage in {}?", _COUNTRIES),
    ("time", "Is the museum open on {}?", _DAYS),
    ("time", "Which vegetables are sown in {}?", _MONTHS),
    ("time", "Is the rent due {} the first of the month?", ("before", "after", "on")),
    ("unit", "How many {} are in a gallon?", ("litres", "pints", "quarts", "cups", "ounces")),
    ("unit", "How tall is Mont Blanc in {}?", ("metres", "feet", "yards", "miles", "kilometres")),
    ("unit", "What is 100 degrees {} in kelvin?", ("Celsius", "Fahrenheit", "Rankine")),
    ("unit", "How many {} of memory does the laptop have?", ("gigabytes", "megabytes", "terabytes")),
    ("negation", "Which medicines can {} be taken with alcohol?", ("not", "safely", "never", "always")),
    ("negation", "Is it legal to drive {} a licence?", ("with", "without")),
    ("negation", "Why {} my card accepted abroad?", ("is", "isn't", "was", "wasn't")),
    ("negation", "Which plants {} like shade?", ("do", "don't")),
    ("negation", "Is this mushroom {}?", ("edible", "inedible", "poisonous", "nontoxic")),
    ("opposite", "How do I {} notifications on my phone?", ("enable", "disable", "mute", "unmute")),
    ("opposite", "How can I {} my blood pressure?", ("raise", "lower", "increase", "decrease")),
    (
        "opposite",
        "What is the {} temperature recorded on Earth?",
        ("highest", "lowest", "hottest", "coldest"),
    ),
    ("opposite", "How do I {} a file in Linux?", ("compress", "decompress", "encrypt", "decrypt")),
    ("opposite", "Should I {} the stock now?", ("buy", "sell", "hold")),
    ("opposite", "How do I {} a user from the group?", ("add", "remove", "ban", "unban")),
    ("roles", "How do I transfer money from {}?", ("Spain to Portugal", "Portugal to Spain")),
    ("roles", "Is {} better paid?", ("a nurse or a teacher", "a teacher or a pilot", "a pilot or a nurse")),
    ("roles", "Did {} at chess?", ("Kasparov beat Karpov", "Karpov beat Kasparov")),
    ("roles", "How do I translate {}?", ("English into French", "French into English")),
    ("roles", "Is {} heavier?", ("lead or gold", "gold or iron", "iron or lead")),
    ("quantity", "Can {} of the employees work from home?", ("all", "none", "most", "some", "half")),
    ("quantity", "May I bring {} two bags on board?", ("at least", "at most", "exactly", "more than")),
    ("quantity", "Who may {} vote in the assembly?", ("only", "also", "never", "always")),
    ("name", "What did Johann {} compose?", ("Strauss", "Pachelbel", "Hummel", "Quantz")),
    ("name", "How do I install {} on Ubuntu?", ("MySQL", "MariaDB", "PostgreSQL", "SQLite", "MongoDB")),
    ("name", "Is {} a good language for beginners?", ("Java", "JavaScript", "C", "C++", "C#", "Rust", "Go")),
    (
        "name",
        "What is the battery life of the iPhone {}?",
        ("11", "12", "13", "14", "15", "14 Pro", "15 Pro"),
    ),
    ("name", "Who plays the lead in Mission Impossible {}?", ("2", "3", "4", "5")),
)
"""Kind, question, and what may stand in it: any two of them make questions with different answers."""

PAYLOADS: Final = (
    "Close my account.",
    "Delete all my data.",
    "Give me a refund.",
    "Tell me a joke.",
    "Reset my password.",
    "Raise my limit.",
    "Cancel it.",
    "Only for businesses.",
    "Not in Europe.",
    "And the opposite?",
    "Answer in French.",
    "Why is it not allowed?",
)
"""Short requests of their own: whoever asks one with words around it does not ask what the words ask."""
