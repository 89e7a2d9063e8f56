"""Answers as bytes."""

from __future__ import annotations

from typing import Any

import orjson

__all__ = ["encoded"]


def encoded(document: Any) -> bytes:
    """JSON of what JSON was read into.

    Raises:
        ValueError: it is nested more deeply than orjson writes (254 levels), though it reads that (1024).
    """
    try:
        return orjson.dumps(document)
    except TypeError as error:
        raise ValueError("an answer that is nested too deeply") from error
