"""Requests to send to a proxy: from its OpenAPI document, and many that no document would tell of."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

from tests.server._fuzz_bodies import body_for
from tests.server._fuzz_case import PATIENCE, Case, post
from tests.server._fuzz_described import described
from tests.server._fuzz_heads import headers_for, method_for, target_for

__all__ = ["cases"]

_SHORT: Final = 0.05
"""Seconds for answers that need not come."""


def cases(document: dict[str, Any], start: int) -> Iterator[Case]:
    """Cases without end, the same for the same seed: three of five from the document."""
    chance = random.Random(start)
    from_document = described(document, start)
    while True:
        drawn = chance.random()
        if drawn < 0.6:
            yield next(from_document)
        elif drawn < 0.85:
            yield _plain(chance)
        else:
            yield _framed(chance)


def _plain(chance: random.Random) -> Case:
    """One request with its length told rightly; all else may be odd."""
    path, body = body_for(chance)
    kind, headers = headers_for(chance)
    method, target = method_for(chance), target_for(chance, path)
    piece = post(target, headers, body, method=method)
    return Case(kind=kind, pieces=(piece,), target=target, headers=tuple(headers), body=body, method=method)


_FRAMINGS: Final = [
    *("chunked", "chunked oddly", "left", "broken off", "pipelined", "length wrong"),
    *("both", "upgraded", "drop by drop", "noise"),
]


def _framed(chance: random.Random) -> Case:
    """A request, or several, that stands oddly in its bytes."""
    framing = chance.choice(_FRAMINGS)
    path, body = body_for(chance, sound=chance.random() < 0.7)
    _, headers = headers_for(chance, sound=True)
    target = path.encode()
    whole = post(target, headers, body)
    pieces: tuple[bytes, ...] = (whole,)
    asks, patience = 1, PATIENCE
    match framing:
        case "chunked" | "chunked oddly":
            chunks = _chunks(chance, body, odd=framing == "chunked oddly")
            pieces = (post(target, [*headers, (b"transfer-encoding", b"chunked")], chunks, length=b""),)
            patience = PATIENCE if framing == "chunked" else _SHORT
        case "left":
            patience = 0.0
        case "broken off":
            pieces, patience = (whole[: chance.randrange(1, len(whole))],), 0.0
        case "pipelined":
            asks = chance.randint(2, 5)
            others = [body_for(chance, sound=True) for _ in range(asks - 1)]
            pieces = (whole + b"".join(post(where.encode(), headers, other) for where, other in others),)
        case "length wrong":
            pieces = (post(target, headers, body, length=_length(chance, len(body))),)
            asks, patience = 2, _SHORT
        case "both":
            inner = post(b"/v1/smuggled", headers, b"{}")
            chunked = (b"transfer-encoding", chance.choice([b"chunked", b"Chunked", b"gzip, chunked", b"x"]))
            sent = chance.choice([b"0\r\n\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)]) + inner
            length = chance.choice([b"%d" % len(sent), b"5", b"0"])
            pieces = (post(target, [*headers, chunked], sent, length=length),)
            asks, patience = 3, _SHORT
        case "upgraded":
            inner = post(b"/v1/smuggled", headers, b"{}")
            headers.append((b"upgrade", chance.choice([b"h2c", b"websocket", b"x"])))
            headers.append((b"connection", b"upgrade"))
            pieces = (post(target, headers, b"", length=b"%d" % len(inner)), inner)
            asks, patience = 2, _SHORT
        case "drop by drop":
            size = max(1, len(whole) // 20)
            pieces = tuple(whole[at : at + size] for at in range(0, len(whole), size))
        case _:  # noise
            pieces = (chance.choice(_NOISE) + chance.randbytes(chance.randrange(200)),)
            asks, patience = 2, _SHORT
    return Case(
        kind=framing,
        pieces=pieces,
        target=target,
        headers=tuple(headers),
        body=body,
        asks=asks,
        patience=patience,
    )


def _chunks(chance: random.Random, body: bytes, *, odd: bool) -> bytes:
    size = chance.choice([1, 7, 1000]) if len(body) < 1000 else 1000
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    if not odd:
        return sent
    return chance.choice(
        [
            sent.replace(b"\r\n", b";name=value\r\n", 1),
            sent.removesuffix(b"\r\n") + b"x-trailer: smuggled\r\n\r\n",
            sent.replace(b"\r\n", b"\n"),
            b"-1\r\n" + sent,
            b"ffffffffffffffffff\r\n" + sent,
            b"0x5\r\n" + sent,
            sent[:-5],
        ]
    )


def _length(chance: random.Random, right: int) -> bytes:
    wrong = [right + 10, max(0, right - 3), 0, -1, 10**12, 2**64 + 5]
    odd = [
        b"+%d" % right,
        b"0x10",
        b"%d, %d" % (right, right),
        b" ",
        b"1e2",
        b"%d\r\ncontent-length: 3" % right,
    ]
    return chance.choice([*(b"%d" % length for length in wrong), *odd])


_NOISE: Final = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /v1/models\r\n\r\n",
    b"POST /v1/chat/completions HTTP/9.9\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"\x00" * 50,
    b"POST /v1/chat/completions HTTP/1.1\r\n folded: x\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nname : x\r\n\r\n",
    b"*1\r\n$4\r\nPING\r\n",
]
