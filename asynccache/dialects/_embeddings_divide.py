"""A batch of inputs as requests of one input each, and their answers as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import orjson

from asynccache._models import Response
from asynccache.dialects._embeddings_verdict import items as items_of
from asynccache.dialects._encoding import encoded
from asynccache.dialects._faults import read
from asynccache.dialects._inputs import as_inputs

__all__ = ["distribute", "divide", "join", "merge"]


def divide(body: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """A body for each input; None when there are not several. See ``Divisible``."""
    if body.get("input") is None:
        return None
    inputs = as_inputs(body["input"])
    return [{**body, "input": each} for each in inputs] if len(inputs) > 1 else None


def join(body: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One body with the inputs of all parts. See ``Divisible``."""
    return {**body, "input": [part["input"] for part in parts]}


def distribute(parts: Sequence[Mapping[str, Any]], response: Response) -> list[Response]:
    """An answer for each part. See ``Divisible``.

    What the upstream counted for all is shared out by the length of the inputs: exact for lists of tokens,
    an estimate for texts, and in sum always what was reported.
    """
    document = read(response)
    found = document if isinstance(document, str) else items_of(document, len(parts))
    if isinstance(document, str) or isinstance(found, str):
        raise ValueError(found)  # noqa: TRY004  (it is bad data)
    if not _agree(
        _form(item) for item in found if item.get("embedding")
    ):  # one that is empty is refused alone
        raise ValueError("the embeddings differ in length")
    usages = _shares(document.get("usage"), [_length(part["input"]) for part in parts])
    return [
        Response(encoded(_with_usage({**document, "data": [{**item, "index": 0}]}, usage)))
        for item, usage in zip(found, usages, strict=True)
    ]


def merge(parts: Sequence[Response]) -> Response:
    """The answers of all parts as one; usage is their sum, so what the whole takes without a cache.

    Those of different models or lengths, as of before and after a model's name has come to mean another,
    cannot be compared with each other.
    """
    documents = [_document(part) for part in parts]
    items = [_only_item(document) for document in documents]
    if not _agree(document.get("model") for document in documents):
        raise ValueError("the embeddings are of different models")
    if not _agree(map(_form, items)):
        raise ValueError("the embeddings differ in length")
    data = [
        # Written one by one: the whole may be tens of megabytes, and encoding it would stop every thread.
        orjson.Fragment(encoded({**item, "index": index}))
        for index, item in enumerate(items)
    ]
    usage = _sum([document.get("usage") for document in documents])
    return Response(encoded(_with_usage({**documents[0], "data": data}, usage)))


def _with_usage(document: dict[str, Any], usage: Any) -> dict[str, Any]:
    return {**document, "usage": usage} if "usage" in document else document


def _document(part: Response) -> dict[str, Any]:
    document = read(part)
    if isinstance(document, str):
        raise ValueError(document)  # noqa: TRY004  (it is bad data)
    return document


def _form(item: Mapping[str, Any]) -> tuple[type, int]:
    """What the embeddings of one answer have in common: list or base64, and how long."""
    vector = item.get("embedding")
    return type(vector), len(vector) if isinstance(vector, (list, str)) else 0


def _agree(values: Iterable[Any]) -> bool:
    found = list(values)
    return all(value == found[0] for value in found)


def _only_item(document: Mapping[str, Any]) -> dict[str, Any]:
    found = items_of(document, 1)
    if isinstance(found, str):
        raise ValueError(found)  # noqa: TRY004  (it is bad data)
    return found[0]


def _length(given: str | list[Any]) -> int:
    return len(given.encode()) if isinstance(given, str) else len(given)


def _shares(usage: Any, lengths: Sequence[int]) -> list[Any]:
    """One usage for each length, of the counts in ``usage``; its details are not told apart."""
    if not isinstance(usage, dict) or len(lengths) == 1:
        return [usage] * len(lengths)
    weights = lengths if any(lengths) else [1] * len(lengths)
    whole = sum(weights)
    ends = [0, *accumulate(weights)]
    counts = {name: value for name, value in usage.items() if type(value) is int}
    return [
        {name: value * end // whole - value * begin // whole for name, value in counts.items()}
        for begin, end in pairwise(ends)
    ]


def _sum(usages: Sequence[Any]) -> Any:
    if not all(isinstance(usage, dict) for usage in usages):
        return None
    names = [name for name, value in usages[0].items() if type(value) is int]
    return {name: sum(_count(usage.get(name)) for usage in usages) for name in names}


def _count(value: Any) -> int:
    return value if type(value) is int else 0
