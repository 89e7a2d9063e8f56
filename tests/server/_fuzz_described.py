"""Cases from an OpenAPI document: what it allows, and what it does not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from tests.server._fuzz_case import Case, Headers, post

__all__ = ["described"]


def described(document: dict[str, Any], start: int) -> Iterator[Case]:
    """From the document, by turns what it allows and what it does not, in rounds of growing seeds."""
    chance = random.Random(start)
    schema = schemathesis.openapi.from_dict(document)
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    for turn in range(1_000):
        found: list[Case] = []
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                if operation.method != "get" or mode is GenerationMode.POSITIVE:  # nothing in it can be wrong
                    _generate(operation, mode, start * 1_000 + turn, found)
        chance.shuffle(found)
        for case in found:
            yield _as_one(case, chance.choice([b"", b"", b"Bearer one", b"Bearer one", b"Bearer two"]))


def _as_one(case: Case, key: bytes) -> Case:
    """The case with a key, where it shows none."""
    if not key or case.account:
        return case
    headers = (*case.headers, (b"authorization", key))
    piece = post(case.target, list(headers), case.body, method=case.method)
    return replace(case, headers=headers, pieces=(piece,))


def _generate(operation: Any, mode: GenerationMode, number: int, found: list[Case]) -> None:
    kept = settings(
        max_examples=15,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )

    @kept
    @seed(number)
    @given(operation.as_strategy(generation_mode=mode))
    def generate(case: schemathesis.Case[Any]) -> None:
        found.append(_prepared(case, f"{mode.value} {operation.label}"))

    generate()


def _prepared(case: schemathesis.Case[Any], kind: str) -> Case:
    told = case.as_transport_kwargs(base_url="http://127.0.0.1")
    headers = {name: value for name, value in told.pop("headers").items() if "Schemathesis" not in name}
    prepared = requests.Request(headers=headers, **told).prepare()
    body = prepared.body or b""
    body = body if isinstance(body, bytes) else str(body).encode()
    sent: Headers = [(b"host", b"127.0.0.1")]
    for name, value in prepared.headers.items():
        if name.lower() not in {"content-length", "connection"}:
            raw = value if isinstance(value, bytes) else str(value).encode("latin-1", "replace")
            sent.append((name.encode("latin-1"), raw.replace(b"\r", b"").replace(b"\n", b"")))
    method = prepared.method or "POST"
    target = prepared.path_url.encode()
    piece = post(target, sent, body, method=method)
    return Case(kind=kind, pieces=(piece,), target=target, headers=tuple(sent), body=body, method=method)
