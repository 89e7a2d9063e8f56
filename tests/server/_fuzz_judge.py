"""What must be true of every answer of a proxy, whatever it was asked."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from asynccache._models import Entry
from tests.server._fuzz_bodies import LIMIT
from tests.server._fuzz_case import PATIENCE, Case
from tests.server._fuzz_client import Reply
from tests.server._fuzz_documents import DIALECTS
from tests.server._fuzz_upstream import Said

__all__ = ["Seen", "judge", "judge_entry", "marks", "places"]

_NO_REQUEST: Final = b"Invalid HTTP request received."
"""What the HTTP server says to bytes that never become a request."""
_REFUSING: Final = frozenset({400, 404, 405, 411, 413, 414, 415, 417, 422, 431})
_DESCRIBED: Final = frozenset(
    {"", "model", "messages", "prompt", "input", "max_tokens", "n", "stream", "Cache-Control", "X-Cache-Tags"}
)
_MARK: Final = re.compile(rb"<answer (\d+)>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one case led to.

    Args:
        replies: whole or broken off.
        said: what the upstream was asked for it.
        stored: how many answers were stored.
        tries: how often the proxy may ask for one request.
        shared: whether it asks on an account of its own, whose refusal is no affair of its clients.
    """

    replies: list[Reply]
    said: Sequence[Said]
    stored: int
    tries: int
    shared: bool


def judge(case: Case, seen: Seen, before: Sequence[Said], asked_by: Sequence[Case]) -> Iterable[str]:
    """Everything that is wrong.

    Args:
        case: what was sent.
        seen: what came of it.
        before: all that the upstream ever said, by number.
        asked_by: what it said that to, by number.
    """
    several = b'"input": [' in case.body or case.asks > 1  # asked again as a whole where parts are no good
    if len(seen.said) > case.asks * seen.tries * (2 if several else 1):
        yield f"the upstream was asked {len(seen.said)} times for {case.asks}"
    if seen.stored and not any(said.plan.storable for said in seen.said):
        yield f"{seen.stored} stored, {[said.kind for said in seen.said]} was said"
    if case.patience == PATIENCE and not seen.replies and len(case.body) <= LIMIT:  # else cut while it sends
        yield "no answer"
    described = case.kind.startswith("positive")
    for reply in seen.replies:
        if described and not seen.said and reply.status in _REFUSING and _blames(reply) in _DESCRIBED:
            yield f"{reply.status} for what the document allows: {reply.body[:200]!r}"
        yield from _judge_status(case, reply, seen)
        if reply.status >= 400:
            yield from _judge_error(case, reply, seen.said)
        if reply.status == 200 and case.asks == 1:
            yield from _judge_answer(case, reply, seen.said)
            for number in marks(reply.body) - {said.number for said in seen.said}:
                yield from _judge_hit(case, before[number], asked_by[number])
        if not reply.whole and not any(said.plan.closes for said in seen.said) and case.patience == PATIENCE:
            yield f"{reply.status} was broken off"


def _blames(reply: Reply) -> str:
    """The field or header that a refusal is about; the document allows fields that it does not tell of."""
    document = _parsed(reply.body)
    error = document.get("error") if isinstance(document, dict) else None
    words = str(error.get("message")) if isinstance(error, dict) else ""
    return re.split(r"[.:\[]", words)[0] if ": " in words else ""


def _judge_status(case: Case, reply: Reply, seen: Seen) -> Iterable[str]:
    said = seen.said
    told = {status for each in said for status in each.plan.statuses}
    if seen.shared and told & {401, 403}:
        told = told - {401, 403} | {502}
    if reply.status in told or not (said or reply.status >= 500):
        return
    control = case.header(b"cache-control").lower()
    if reply.status == 504 and b"only-if-cached" in control:
        return
    if reply.status == 200 and b"stale-if-error" in control and "; hit" in reply.header("cache-status"):
        return
    if reply.status >= 500:
        yield f"{reply.status} of our own making: {reply.body[:200]!r}"
    elif case.asks == 1:
        yield f"{reply.status} after the upstream was asked, which said {[each.kind for each in said]}"


def _judge_error(case: Case, reply: Reply, said: Sequence[Said]) -> Iterable[str]:
    if case.method == "HEAD" and not reply.body:
        return
    if any(reply.body == each.plan.body for each in said if reply.status in each.plan.statuses):
        return
    if reply.status == 400 and reply.body == _NO_REQUEST:
        if case.kind.startswith(("positive", "negative")):
            yield "a request that follows the document was not understood as HTTP"
        return
    document = _parsed(reply.body)
    anthropic = case.target.startswith(b"/v1/messages")
    if not _is_error(document, anthropic=anthropic) and not (
        case.asks > 1 and _is_error(document, anthropic=not anthropic)
    ):
        yield f"{reply.status} in no shape of the dialect: {reply.body[:200]!r}"
    if "json" not in reply.header("content-type"):
        yield f"{reply.status} is told to be {reply.header('content-type')!r}"


def _is_error(document: Any, *, anthropic: bool) -> bool:
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return False
    return isinstance(error.get("type"), str) and (document.get("type") == "error") is anthropic


def _judge_answer(case: Case, reply: Reply, said: Sequence[Said]) -> Iterable[str]:
    path = case.target.partition(b"?")[0].decode("latin-1")
    if case.method != "POST" or path not in DIALECTS:
        return
    found = marks(reply.body)
    if not said and not ("; hit" in reply.header("cache-status") and found):
        yield f"an answer from nowhere: {reply.header('cache-status')!r} {reply.body[:200]!r}"
    if said and said[-1].plan.storable and said[-1].number not in found:
        yield f"the answer is not what the upstream said: {reply.body[:200]!r}"


def _judge_hit(case: Case, origin: Said, asked_by: Case) -> Iterable[str]:
    if not origin.plan.storable:
        yield f"answered with {origin.number}, which was {origin.kind}"
    if _telling(case.body) != _telling(origin.body):
        yield f"answered with the answer to another question: {origin.body[:300]!r}"
    if case.account != asked_by.account:
        yield f"answered with the answer to another account: {asked_by.account!r}"


_TELLING: Final = ("model", "messages", "prompt", "max_tokens", "n", "temperature")


def _telling(body: bytes) -> Any:
    """What two requests of one answer share; embeddings are asked input by input, and so left out."""
    document = _parsed(body)
    return [_told(document.get(name)) for name in _TELLING] if isinstance(document, dict) else body


def _told(value: Any) -> Any:
    """Without what is null, which in a message means the same as absence."""
    if isinstance(value, dict):
        return {name: _told(each) for name, each in value.items() if each is not None}
    return [_told(each) for each in value] if isinstance(value, list) else value


def judge_entry(entry: Entry, before: Sequence[Said]) -> Iterable[str]:
    """Everything that is wrong with a stored answer."""
    found = marks(entry.response.body)
    if not found:
        yield f"stored, and nobody said it: {entry.response.body[:200]!r}"
    for number in found:
        origin = before[number]
        if not origin.plan.storable:
            yield f"stored although it was {origin.kind}: {entry.response.body[:200]!r}"
        whole = origin.plan.body and entry.dialect != "embeddings" and not entry.response.frames
        if whole and entry.response.body != origin.plan.body:
            yield f"stored otherwise than said: {entry.response.body[:200]!r}, {origin.plan.body[:200]!r}"


def marks(body: bytes) -> set[int]:
    """Numbers of the upstream's answers that these bytes hold."""
    return {int(number) for number in _MARK.findall(body)} | {number for number, _ in places(body)}


def places(body: bytes) -> list[tuple[int, int]]:
    """Of each vector, the number of the upstream's answer and of the input in it."""
    document = _parsed(body)
    data = document.get("data") if isinstance(document, dict) else None
    found: list[tuple[int, int]] = []
    for item in data if isinstance(data, list) else []:
        vector = item.get("embedding") if isinstance(item, dict) else None
        if isinstance(vector, str):
            vector = struct.unpack("<2f", base64.b64decode(vector))
        if vector:
            found.append((int(vector[0]) - 1, int(vector[1]) - 1))
    return found


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
