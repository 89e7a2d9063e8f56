"""Headers, methods and targets that are sound, or odd in ways that clients and attackers think of."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["headers_for", "method_for", "target_for"]

_DIRECTIVES: Final = [
    *(b"no-cache", b"no-store", b"only-if-cached", b"max-age=0", b"max-age=60", b"max-age=-1", b"max-age=x"),
    *(b"max-age", b"max-age=99999999999", b'max-age="5"', b"stale-if-error=5", b"private", b",,", b"=", b'"'),
    *(b"no-cache, no-store", b"\xe9", b"no-cache;x", b"max-age=\xb2", b"a" * 3000, b"no-cache " * 500),
]
_ODD_HEADERS: Final[list[list[tuple[bytes, bytes]]]] = [
    [(b"x-cache-tags", b"a, b,,c")],
    [(b"x-cache-tags", b",".join(b"t%d" % i for i in range(3000)))],
    [(b"x-cache-tags", b"\xe9\xff")],
    [(b"x-cache-tags", b"x" * 5000), (b"x-cache-tags", b"")],
    [(b"x-cache-tenant", b"acme")],
    [(b"x-cache-tenant", b"")],
    [(b"x-api-key", b"k"), (b"anthropic-version", b"2023-06-01")],
    [(b"authorization", b"Bearer two")],
    [(b"authorization", b"")],
    [(b"authorization", b"Basic \xff\xfe")],
    [(b"expect", b"100-continue")],
    [(b"expect", b"nonsense")],
    [(b"upgrade", b"h2c"), (b"connection", b"upgrade, http2-settings"), (b"http2-settings", b"AAA")],
    [(b"upgrade", b"websocket"), (b"connection", b"Upgrade")],
    [(b"connection", b"authorization, host, content-type, content-length")],
    [(b"connection", b"close")],
    [(b"te", b"trailers"), (b"trailer", b"x")],
    [(b"content-encoding", b"gzip")],
    [(b"content-encoding", b"identity")],
    [(b"host", b"evil.example")],
    [(b"x-forwarded-host", b"evil.example"), (b"forwarded", b"host=evil.example")],
    [(b"cookie", b"a=b; \xff")],
    [(b"range", b"bytes=0-3"), (b"if-none-match", b"*")],
    [(b"accept-encoding", b"gzip, br, zstd")],
    [(b"x-long", b"x" * 9_000)],
    [(b"x-longer", b"x" * 70_000)],
    [(b"x-%d" % i, b"y") for i in range(300)],
    [(b"x-empty", b"")],
    [(b"x-bytes", bytes(range(0x80, 0x100)))],
    [(b"x-tab", b"a\tb")],
    [(b"x-padded", b"  a \t")],
    [(b"x-null", b"a\x00b")],
    [(b"x-bare", b"a\rb")],
    [(b"bad name", b"x")],
    [(b"x-http-method-override", b"GET")],
    [(b"proxy-authorization", b"Basic eA==")],
    [(b"x-stainless-raw-response", b"true")],
]
_TYPES: Final = [
    *(b"application/json; charset=utf-8", b"APPLICATION/JSON", b"application/vnd.api+json", b"text/plain"),
    *(b"", b";", b"application/json;" * 100, b"multipart/form-data; boundary=x", b"application/xml", b"\xff"),
]


def headers_for(chance: random.Random, *, sound: bool = False) -> tuple[str, list[tuple[bytes, bytes]]]:
    """What the headers are, and they."""
    kind = "plain"
    headers = [(b"host", b"127.0.0.1"), (b"authorization", b"Bearer one")]
    if sound or chance.random() < 0.85:
        headers.append((b"content-type", b"application/json"))
    elif chance.random() < 0.8:
        kind = "content type"
        headers.append((b"content-type", chance.choice(_TYPES)))
    if chance.random() < (0.1 if sound else 0.2):
        kind = "cache-control"
        headers.append((b"cache-control", chance.choice(_DIRECTIVES[:4] if sound else _DIRECTIVES)))
    if not sound and chance.random() < 0.3:
        odd = chance.choice(_ODD_HEADERS)
        kind = f"header {odd[0][0].decode('latin-1')}"
        headers += odd
    return kind, headers


def method_for(chance: random.Random) -> str:
    """POST, mostly."""
    if chance.random() < 0.9:
        return "POST"
    return chance.choice(
        [
            "GET",
            "HEAD",
            "PUT",
            "DELETE",
            "PATCH",
            "OPTIONS",
            "TRACE",
            "CONNECT",
            "PURGE",
            "MKCOL",
            "post",
            "X",
        ]
    )


_TARGETS: Final = [
    *(b"/v1/../admin", b"/v1/%2e%2e/admin", b"/v1/%252e%252e/admin", b"/v1/..%2fadmin", b"/v1/x/..;/admin"),
    *(
        b"//evil.example/v1/chat/completions",
        b"http://evil.example/v1/chat/completions",
        b"/v1//evil.example/x",
    ),
    *(
        b"/v1/\\evil.example",
        b"/v1/%5c..%5cadmin",
        b"/v1/@evil.example/x",
        b"/v1@evil.example/x",
        b"v1/models",
    ),
    *(b"/", b"*", b"", b"/v1", b"/v1/", b"/v2/chat/completions", b"/V1/chat/completions", b"/v1/models"),
    *(b"/v1/models/a%2Fb", b"/v1/files?purpose=x", b"/v1/messages/batches", b"/v1/messages/count_tokens"),
    *(
        b"/v1/chat/completions/",
        b"/v1/chat%2fcompletions",
        b"/v1/chat/completions?x=1&x=%ff",
        b"/v1/./models",
    ),
    *(b"/v1/%00", b"/v1/\xff", b"/v1/%ff%fe", b"/v1/x%0d%0ay:z", b"/v1/x#y", b"/v1/" + b"a" * 9_000),
    *(
        b"/v1/" + b"../" * 50,
        b"/healthz",
        b"/readyz",
        b"/openapi.json",
        b"/healthz?x",
        b"/healthz/",
        b"/v1/x?y#z",
    ),
    *(
        b"/v1/chat/completions?" + b"q" * 60_000,
        b"/v1/chat/completions?\xff",
        b"/v1/chat/completions#x",
        b"/v1/%",
    ),
    *(b"http://[::1/v1/models", b"evil.example:443", b"/v1/%u002e%u002e/x", b"/v1/\xc0\xae\xc0\xae/x", b"?x"),
]


def target_for(chance: random.Random, path: str) -> bytes:
    """The path, mostly."""
    return path.encode() if chance.random() < 0.75 else chance.choice(_TARGETS)
