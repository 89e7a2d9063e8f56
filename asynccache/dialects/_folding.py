"""Chunks into one document: every value a field was given is gathered, then folded by the field's rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, TypeAlias

__all__ = ["Fold", "Rules", "by_index", "first", "fold", "given", "joined", "last", "nested"]

Fold: TypeAlias = "Callable[[list[Any]], Any]"
"""What one field's values, in order and at least one, amount to."""

Rules: TypeAlias = "Mapping[str, Fold]"


def fold(parts: Iterable[Any], rules: Rules, other: Fold | None = None) -> dict[str, Any]:
    """Gather the parts field by field; ``other`` (default ``last``) is the rule of those that have none."""
    gathered: dict[str, list[Any]] = {}
    for part in parts:
        if not isinstance(part, dict):
            raise ValueError("a part of a frame is not an object")  # noqa: TRY004  (it is bad data)
        for name, value in part.items():
            gathered.setdefault(name, []).append(value)
    return {name: rules.get(name, other or last)(values) for name, values in gathered.items()}


def given(values: list[Any]) -> list[Any]:
    """Those that are not null."""
    return [value for value in values if value is not None]


def last(values: list[Any]) -> Any:
    """The last that is not null."""
    return next((value for value in reversed(values) if value is not None), None)


def first(values: list[Any]) -> Any:
    """Skips "" and 0 too: Azure opens with a frame of such."""
    return next((value for value in values if value), values[0])


def joined(values: list[Any]) -> Any:
    """Fragments of one text or of one list."""
    pieces = given(values)
    if len(pieces) <= 1:
        return pieces[0] if pieces else None
    if all(isinstance(value, str) for value in pieces):
        return "".join(pieces)
    if all(isinstance(value, list) for value in pieces):
        return list(chain.from_iterable(pieces))
    raise ValueError("a field changes its type between frames")


def nested(rules: Rules) -> Fold:
    """The rule of a field that holds an object whose fields have rules of their own."""

    def folded(values: list[Any]) -> Any:
        pieces = given(values)
        if not all(isinstance(piece, dict) for piece in pieces):
            return last(pieces)  # in a form that is not known, it is kept as a field without a rule
        return fold(pieces, rules) if pieces else None

    return folded


def by_index(values: list[Any]) -> dict[int, list[Any]]:
    """Items of all lists in ``values`` by their index, in its order."""
    found: dict[int, list[Any]] = {}
    for items in given(values):
        if not isinstance(items, list):
            raise ValueError("expected a list")  # noqa: TRY004  (it is bad data)
        for item in items:
            index = item.get("index") if isinstance(item, dict) else None
            if type(index) is not int:
                raise ValueError("a choice or tool call has no index")
            found.setdefault(index, []).append(item)
    return dict(sorted(found.items()))
