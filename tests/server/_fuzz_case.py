"""One case: bytes for a connection, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["PATIENCE", "Case", "Headers", "post"]

Headers = list[tuple[bytes, bytes]]
PATIENCE: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Bytes to send on one connection.

    Args:
        kind: what it tries.
        pieces: sent one after another.
        target: of the request, or of the first.
        headers: of the request, or of each.
        body: of the request, or of the first.
        method: of the request, or of each.
        asks: how many requests these bytes are, at most.
        patience: seconds that the client waits for each piece of an answer; 0 leaves at once.
    """

    kind: str
    pieces: tuple[bytes, ...]
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    method: str = "POST"
    asks: int = 1
    patience: float = PATIENCE

    @property
    def account(self) -> bytes:
        """The first key that it shows; b"" for none."""
        return next((value for name, value in self.headers if name.lower() == b"authorization"), b"")

    def header(self, name: bytes) -> bytes:
        """All values, joined by commas."""
        return b",".join(value for given, value in self.headers if given.lower() == name)


def post(
    target: bytes,
    headers: Headers,
    body: bytes,
    *,
    method: str = "POST",
    length: bytes | None = None,
) -> bytes:
    """A request; its length is told rightly, or as given, and not at all for b"" alone."""
    told = b"%d" % len(body) if length is None else length
    lines = [b"%b %b HTTP/1.1" % (method.encode("latin-1"), target)]
    lines += [b"%b: %b" % header for header in headers]
    if told:
        lines.append(b"content-length: " + told)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
