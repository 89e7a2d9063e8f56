"""One spelling for what JSON and Unicode can spell in several ways."""

from __future__ import annotations

from typing import Any, Final
from unicodedata import normalize

__all__ = ["one_number_form", "one_text_form"]

_EXACT_FLOATS: Final = 2**53
"""Below it every whole float is one integer; above, several integers share a float."""


def one_number_form(value: Any) -> Any:
    """1.0 and 1, 0 and -0.0 are the same number to JSON; true is none."""
    if isinstance(value, float):
        return int(value) if abs(value) < _EXACT_FLOATS and value.is_integer() else value
    if isinstance(value, dict):
        return {name: one_number_form(item) for name, item in value.items()}
    if isinstance(value, list):
        return [one_number_form(item) for item in value]
    return value


def one_text_form(text: str, *, starts: bool, ends: bool) -> str:
    """NFC, line feeds for line ends, and no white space where the text ``starts`` or ``ends`` a message."""
    if not text.isascii():
        text = normalize("NFC", text)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if starts:
        text = text.lstrip()
    return text.rstrip() if ends else text
