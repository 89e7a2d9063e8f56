"""What text completions call ``prompt`` and embeddings ``input``: one text or several, or their tokens."""

from __future__ import annotations

from typing import Any

from asynccache._errors import InvalidRequest
from asynccache.dialects._checks import is_whole, mismatch

__all__ = ["as_inputs", "check_inputs"]


def check_inputs(name: str, value: Any) -> None:
    """Raise InvalidRequest unless it is a string, a list of strings, a list of tokens or a list of such."""
    if isinstance(value, str):
        return
    if not isinstance(value, (list, tuple)):
        raise mismatch(name, "a string, a list of strings, a list of tokens or a list of such lists", value)
    if not value:
        raise InvalidRequest(name, "must not be empty")
    first = value[0]
    if isinstance(first, str):
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise mismatch(f"{name}[{index}]", "a string as the first", item)
    elif isinstance(first, (list, tuple)):
        for index, item in enumerate(value):
            if not isinstance(item, (list, tuple)):
                raise mismatch(f"{name}[{index}]", "a list of tokens as the first", item)
            _check_tokens(f"{name}[{index}]", item)
    else:
        _check_tokens(name, value)


def _check_tokens(path: str, value: Any) -> None:
    for index, token in enumerate(value):
        if type(token) is not int and not is_whole(token):
            raise mismatch(f"{path}[{index}]", "a token (a whole number)", token)


def as_inputs(value: Any) -> list[Any]:
    """A checked value as the list of its inputs, each a string or a list of tokens.

    A text stays as it is, byte for byte: white space, line ends and Unicode's composed forms make other
    tokens.
    """
    if isinstance(value, str):
        return [value]
    return list(value) if isinstance(value[0], (str, list, tuple)) else [value]
