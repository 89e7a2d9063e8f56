"""What an upstream may say to a request: rightly in its dialect, or wrongly in many ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from asynccache._models import Response
from asynccache._registry import find_dialect
from tests.server._fuzz_documents import DIALECTS, as_object, document_for, mark

__all__ = ["KINDS", "Plan", "plan_for"]

KINDS: Final = {
    "good": 60,
    "slow": 3,
    **dict.fromkeys(["400", "401", "403", "404", "429", "500", "503", "529"], 2),
    **dict.fromkeys(["html error", "empty error", "no content", "redirect", "flat error", "cut error"], 1),
    **dict.fromkeys(["broken JSON", "empty body", "another type", "another type too", "wrong form"], 2),
    **dict.fromkeys(["cut off", "ended early", "error event", "too short", "filtered", "no choices"], 2),
    **dict.fromkeys(["no answer", "no HTTP", "odd header", "odd status", "broken gzip"], 1),
}
"""Weights."""

_BREAKING: Final = frozenset({"cut off", "ended early", "error event"})
_FINISHES: Final = {"too short": "length", "filtered": "content_filter"}
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to answer.

    Args:
        steps: bytes to send, and seconds to wait.
        statuses: what a proxy's client may see of it.
        storable: whether the answer is complete and good.
        body: of an answer in one piece.
        closes: whether the connection ends with it.
    """

    steps: list[bytes | float]
    statuses: frozenset[int]
    storable: bool = False
    body: bytes = b""
    closes: bool = False


def plan_for(kind: str, number: int, method: str, path: str, body: bytes, *, elsewhere: int) -> Plan:
    """The answer of this kind to a request."""
    dialect = DIALECTS.get(path) if method == "POST" else None
    if kind in _ODD and (dialect is not None or kind in _ODD_TO_ALL):
        return _ODD[kind](elsewhere)
    if dialect is None:
        return _passed(kind, number, method)
    if kind.isdigit():
        return _whole(find_dialect(dialect).failure(int(kind), "no"), int(kind))
    asked = as_object(body)
    document = document_for(dialect, asked, number, _FINISHES.get(kind))
    streamed = asked.get("stream") is True and dialect != "embeddings"
    if kind in _UNLIKE:
        return _UNLIKE[kind](document)
    if streamed != (kind == "wrong form"):
        return _events(dialect, asked, document, kind)
    if kind == "wrong form":
        return _whole(document, kind="text/event-stream")
    if kind in _BREAKING:
        return _cut(document, 200, {502})
    plan = _whole(document, storable=kind in {"good", "slow"})
    return replace(
        plan, steps=[0.02, *plan.steps] if kind == "slow" else plan.steps, statuses=frozenset({200})
    )


def _passed(kind: str, number: int, method: str) -> Plan:
    status = int(kind) if kind.isdigit() else 200
    document = orjson.dumps({"passed": mark(number)})
    if method == "HEAD":
        return Plan(steps=[_head(status, len(document))], statuses=frozenset({status}))
    return _cut(document, 200, {200}) if kind in _BREAKING else _whole(document, status)


def _head(status: int, size: int, kind: str = _JSON, more: bytes = b"") -> bytes:
    told = (status, kind.encode(), size, more)
    return b"HTTP/1.1 %d Said\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n" % told


def _whole(body: bytes, status: int = 200, *, kind: str = _JSON, storable: bool = False) -> Plan:
    """One document; what is no answer is 502, or passed on as it came."""
    seen = {status} if status != 200 or storable else {200, 502}
    sent = _head(status, len(body), kind) + body
    return Plan(steps=[sent], statuses=frozenset(seen), storable=storable, body=body)


def _cut(body: bytes, status: int, seen: set[int]) -> Plan:
    half = body[: len(body) // 2]
    sent = _head(status, len(body)) + half
    return Plan(steps=[sent], statuses=frozenset(seen), body=half, closes=True)


def _events(dialect: str, asked: dict[str, Any], document: bytes, kind: str) -> Plan:
    speaks = find_dialect(dialect)
    if dialect == "embeddings":
        events = [b"data: %b\n\n" % document]
    else:
        events = [speaks.event(frame) for frame in speaks.replay(asked, Response(document))]
    if kind in _BREAKING:
        events = events[: len(events) // 2]
    if kind == "error event":
        events.append(speaks.event(speaks.failure(500, "it broke")))
    if kind != "ended early":
        events.append(speaks.closing)
    pieces: list[bytes | float] = [b"%x\r\n%b\r\n" % (len(event), event) for event in events if event]
    if kind == "slow":
        pieces.insert(len(pieces) // 2, 0.02)
    end = [] if kind == "cut off" else [b"0\r\n\r\n"]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return Plan(
        steps=[head, *pieces, *end],
        statuses=frozenset({200, 502}) if kind == "wrong form" else frozenset({200}),
        storable=kind in {"good", "slow"},
        closes=kind == "cut off",
    )


def _bytes(sent: bytes, *statuses: int) -> Plan:
    return Plan(steps=[sent], statuses=frozenset({502, *statuses}), closes=True)


_UNLIKE: Final[dict[str, Callable[[bytes], Plan]]] = {
    "broken JSON": lambda document: _whole(document[:-1]),
    "another type": lambda document: _whole(document, kind="text/plain", storable=True),
    "odd header": lambda document: Plan(
        steps=[_head(200, len(document), more=b"x-odd: a\x01b\r\nx-bytes: \xff\r\n") + document],
        statuses=frozenset({200, 502}),
        storable=True,
        body=document,
    ),
}
_ODD: Final[dict[str, Callable[[int], Plan]]] = {
    "html error": lambda _: _whole(b"<html>bad gateway</html>", 502, kind="text/html"),
    "empty error": lambda _: _whole(b"", 500),
    "cut error": lambda _: _cut(b'{"error": {"message": "no"}}', 500, {500, 502}),
    "no content": lambda _: _bytes(b"HTTP/1.1 204 None\r\n\r\n", 200, 204),
    "redirect": lambda port: _bytes(
        b"HTTP/1.1 307 There\r\nlocation: http://127.0.0.1:%d/v1/x\r\ncontent-length: 0\r\n\r\n" % port, 307
    ),
    "flat error": lambda _: _whole(b'{"object": "error", "message": "no", "code": 40001}'),
    "no choices": lambda _: _whole(b'{"object":"list","choices":[],"data":[],"content":[],"output":[]}'),
    "empty body": lambda _: _whole(b""),
    "another type too": lambda _: _whole(b"<html>sign in</html>", kind="text/html"),
    "no answer": lambda _: Plan(steps=[], statuses=frozenset({502}), closes=True),
    "no HTTP": lambda _: _bytes(b"220 smtp.example ready\r\n"),
    "odd status": lambda _: replace(_whole(b"{}", 999), statuses=frozenset({502})),
    "broken gzip": lambda _: _bytes(
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc", 200
    ),
}
_ODD_TO_ALL: Final = frozenset(
    {"no answer", "no HTTP", "odd status", "no content", "redirect", "broken gzip"}
)
