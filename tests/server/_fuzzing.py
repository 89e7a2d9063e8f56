"""Sends cases to a proxy one after another, and checks after each that nothing went wrong."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import orjson

from asynccache._models import Entry
from asynccache.backends import MemoryBackend
from tests.server._fuzz_bodies import LIMIT
from tests.server._fuzz_case import PATIENCE, Case, post
from tests.server._fuzz_cases import cases
from tests.server._fuzz_client import converse
from tests.server._fuzz_judge import Seen, judge, judge_entry, marks, places
from tests.server._fuzz_known import known_fault
from tests.server._fuzz_upstream import Moody, Said, moody_upstream
from tests.server.conftest import Served, proxy_before

__all__ = ["Fuzzed", "fuzz"]

_FOUND: Final = 40
"""So many faults end it."""
_UNFINISHED: Final = "ASGI callable returned without completing response."
"""How a broken-off answer is broken off for the client."""


@dataclass
class Fuzzed:
    """What became of the cases."""

    cases: int = 0
    left_out: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    upstream: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    hits: int = 0
    stored: int = 0
    replayed: int = 0
    faults: list[str] = field(default_factory=list)

    def told(self) -> str:
        """The counts, and the first faults."""
        return "\n".join([str(self), *self.faults[:10]])

    def __str__(self) -> str:
        return (
            f"{self.cases} cases, {self.left_out} left out, {dict(sorted(self.statuses.items()))}; "
            f"upstream asked {self.asked} times, {self.hits} hits, {self.stored} stored, "
            f"{self.replayed} replayed; upstream {dict(self.upstream)}; {dict(self.kinds)}; "
            f"{len(self.faults)} faults"
        )


async def fuzz(number: int, *, seed: int, within: float, key: str | None = None, **options: Any) -> Fuzzed:
    """Send so many cases, the same for the same seed.

    Args:
        number: of cases.
        seed: of all chances.
        within: seconds; no more is sent after them.
        key: what the proxy shows its upstream; None when its clients bring their own keys.
        options: the proxy's.
    """
    tally, backend, end = Fuzzed(), MemoryBackend(), time.monotonic() + within
    tasks = asyncio.all_tasks()
    async with moody_upstream(seed, key=key) as moody:
        pipeline = {"backend": backend}
        async with proxy_before(moody.url, pipeline=pipeline, max_body=LIMIT, **options) as served:
            if served.app.settings.own is not None:
                served.app.settings.own._sleep = _at_once
            document = (await served.client.get("/openapi.json")).json()
            run = _Run(moody, served, backend, tally)
            with _listening(run.heard):
                for case in cases(document, seed):
                    enough = tally.cases >= number or len(tally.faults) >= _FOUND
                    if enough or time.monotonic() > end:
                        break
                    if known_fault(case) is None:
                        await run.one(case)
                    else:
                        tally.left_out += 1
                await run.replay()
        await asyncio.sleep(0.01)
        if moody.connections:
            tally.faults.append(f"{len(moody.connections)} connections to the upstream are left")
    if left := asyncio.all_tasks() - tasks:
        tally.faults.append(f"tasks are left: {left}")
    tally.asked = len(moody.said)
    tally.upstream.update(said.kind for said in moody.said)
    return tally


async def _at_once(_: float) -> None:
    """Instead of a wait before the next try."""


class _Run:
    """One proxy, and what has been seen of it.

    Args:
        moody: its upstream.
        served: the proxy.
        backend: its store.
        tally: what is counted.
    """

    def __init__(self, moody: Moody, served: Served, backend: MemoryBackend, tally: Fuzzed) -> None:
        self._moody: Final = moody
        self._served: Final = served
        self._backend: Final = backend
        self._tally: Final = tally
        self._port: Final = int(served.url.rpartition(":")[2])
        self._asked_by: Final[list[Case]] = []  # by number of what the upstream said
        self._shared: Final = served.app.settings.own is not None
        self._tries: Final = 3 if self._shared else 1
        self._failed: Mapping[str, int] = {}
        self.heard: Final[list[str]] = []
        """Failures that were logged or left to the event loop."""

    async def one(self, case: Case) -> None:
        """Send a case, wait until it is over, and judge."""
        before, stored = len(self._moody.said), self._stored()
        replies, problem = await converse(self._port, case)
        await self._over(soon=case.patience == PATIENCE)
        said = self._moody.said[before:]
        self._asked_by.extend([case] * len(said))
        seen = Seen(
            replies=replies,
            said=said,
            stored=self._stored() - stored,
            tries=self._tries,
            shared=self._shared,
        )
        faults = [*judge(case, seen, self._moody.said, self._asked_by), *self._failures(seen)]
        if problem is not None and case.patience == PATIENCE:
            faults.append(problem)
        tally = self._tally
        tally.cases += 1
        tally.kinds[case.kind] += 1
        tally.stored += seen.stored
        tally.statuses.update(f"{reply.status // 100}xx" for reply in replies)
        tally.statuses["none"] += not replies
        tally.hits += sum("; hit" in reply.header("cache-status") for reply in replies)
        told = f"case {tally.cases} {case.kind} {b''.join(case.pieces)[:1500]!r} ({[s.kind for s in said]})"
        tally.faults += [f"{fault}: {told}" for fault in faults]

    async def replay(self) -> None:
        """Ask for every stored answer again: it is the one that the upstream gave, and nobody is asked."""
        moody, tally = self._moody, self._tally
        async for entry in self._backend.scan():
            tally.faults += judge_entry(entry, moody.said)
            for number in marks(entry.response.body):
                said, case = moody.said[number], self._asked_by[number]
                headers = [header for header in case.headers if header[0].lower() not in _REPLACED]
                headers.append((b"cache-control", b"only-if-cached"))
                target, body = said.target.encode("latin-1"), _asked_again(entry, case, said)
                again = Case(
                    kind="replay",
                    pieces=(post(target, headers, body),),
                    target=target,
                    headers=tuple(headers),
                    body=body,
                )
                before = len(moody.said)
                replies, _ = await converse(self._port, again)
                tally.replayed += 1
                if [reply.status for reply in replies] != [200] or len(moody.said) != before:
                    tally.faults.append(
                        f"{number} is not answered from the store: {again} {replies}, after {case}, {said}"
                    )
                elif number not in marks(replies[0].body):
                    tally.faults.append(
                        f"{number} answered by {replies[0].body[:200]!r}: {again}, after {case}, {said}"
                    )

    async def _over(self, *, soon: bool) -> None:
        """Wait until nobody is served and the upstream has read it all; a client that left saw neither."""
        gate = self._served.app._gate
        await asyncio.sleep(0 if soon else 0.003)
        with anyio.fail_after(10):
            while gate.running:  # noqa: ASYNC110  (it tells nobody when that changes)
                await asyncio.sleep(0.001)
        await asyncio.sleep(0 if soon else 0.003)

    def _stored(self) -> int:
        return self._served.app.settings.cache.stats().stored

    def _failures(self, seen: Seen) -> Iterator[str]:
        stats = self._served.app.settings.cache.stats()
        if (failed := stats.failed) != self._failed:
            self._failed = failed
            yield f"a stage failed: {failed}"
        for what, error in self._served.reports:
            yield f"{what} failed: {error!r}"
        self._served.reports.clear()
        moody = self._moody
        yield from moody.wrongs
        moody.wrongs.clear()
        broken = any(said.plan.closes for said in seen.said)
        yield from (words for words in self.heard if not (broken and words == _UNFINISHED))
        self.heard.clear()


def _asked_again(entry: Entry, case: Case, said: Said) -> bytes:
    """What a client asks for the entry: its own words, but of several inputs the one of the entry."""
    body = said.body if case.asks > 1 else case.body
    found, sent = places(entry.response.body), orjson.loads(said.body).get("input")
    if not found or sent is None:
        return body
    several = isinstance(sent, list) and sent and not isinstance(sent[0], int)
    return orjson.dumps({**orjson.loads(body), "input": sent[found[0][1]] if several else sent})


_REPLACED: Final = frozenset({b"cache-control", b"expect", b"transfer-encoding"})


@contextmanager
def _listening(heard: list[str]) -> Iterator[None]:
    """Hear what is logged as a failure, and what the event loop is left with."""

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            words = record.getMessage()
            heard.append(f"{words} {record.exc_info}" if record.exc_info else words)

    ear, loop = Ear(logging.ERROR), asyncio.get_running_loop()
    server, root, handler = (
        logging.getLogger("uvicorn.error"),
        logging.getLogger(),
        loop.get_exception_handler(),
    )
    level = server.level
    server.setLevel(logging.ERROR)
    root.addHandler(ear)
    loop.set_exception_handler(lambda _, context: heard.append(f"event loop: {context}"))
    try:
        yield
    finally:
        server.setLevel(level)
        root.removeHandler(ear)
        loop.set_exception_handler(handler)
