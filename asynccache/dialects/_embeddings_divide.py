"""A batch of inputs as requests of one input each, and their answers as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import orjson

from asynccache._models import Response
from asynccache.dialects._embeddings_verdict import items
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
    found = document if isinstance(document, str) else items(document, len(parts))
    if isinstance(document, str) or isinstance(found, str):
        raise ValueError(found)  # noqa: TRY004  (it is bad data)
    usages = _shares(document.get("usage"), [_length(part["input"]) for part in parts])
    return [
        Response(orjson.dumps(_with_usage({**document, "data": [{**item, "index": 0}]}, usage)))
        for item, usage in zip(found, usages, strict=True)
    ]


def merge(parts: Sequence[Response]) -> Response:
    """The answers of all parts as one; usage is their sum, so what the whole takes without a cache."""
    documents = [orjson.loads(part.body) for part in parts]
    data = [
        # Written one by one: the whole may be tens of megabytes, and encoding it would stop every thread.
        orjson.Fragment(orjson.dumps({**_only_item(document), "index": index}))
        for index, document in enumerate(documents)
    ]
    usage = _sum([document.get("usage") for document in documents])
    return Response(orjson.dumps(_with_usage({**documents[0], "data": data}, usage)))


def _with_usage(document: dict[str, Any], usage: Any) -> dict[str, Any]:
    return {**document, "usage": usage} if "usage" in document else document


def _only_item(document: Mapping[str, Any]) -> dict[str, Any]:
    found = items(document, 1)
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
    return {name: sum(usage.get(name) or 0 for usage in usages) for name in names}
