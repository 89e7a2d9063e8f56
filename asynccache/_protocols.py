"""Every contract, on one page. Implement one of these and the pipeline will use it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from asyncio import Future
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from asynccache._events import Event
    from asynccache._exchange import Exchange
    from asynccache._judging import Account, AnswerPair, Judgement, Label, LabelKind, LabelPage, Ruling
    from asynccache._models import (
        Boarding,
        Candidate,
        Changes,
        Consistency,
        Cost,
        Embedding,
        Entry,
        FlightLog,
        History,
        Neighbour,
        Request,
        Response,
        VectorChanges,
        VectorGroup,
        VectorPage,
    )
    from asynccache._stream import Stream

__all__ = [
    "Accountable",
    "AnswerEquivalence",
    "Backend",
    "Check",
    "Clearable",
    "Clock",
    "Comparing",
    "Conditional",
    "Confirming",
    "Decision",
    "Dialect",
    "Divisible",
    "Driver",
    "Embedder",
    "Feed",
    "Fingerprinted",
    "Flights",
    "Hook",
    "Instant",
    "Labels",
    "Learning",
    "Managed",
    "Measurable",
    "Progress",
    "Searching",
    "SemanticIndex",
    "Stage",
    "Taggable",
    "Upstream",
    "VectorIndex",
    "Vectors",
]

Hook: TypeAlias = "Callable[[Event], None]"
"""Called on the event loop for every event: sync and quick. An exception in it is swallowed."""

Check: TypeAlias = "Callable[[Request, Candidate], str | None]"
"""A reason to reject the candidate, or None: what the validator is made of."""


class Clock(Protocol):
    """Time, injected so that tests do not sleep."""

    def now(self) -> float:
        """Wall clock, seconds since the epoch: for stamps."""
        ...

    def monotonic(self) -> float:
        """Monotonic seconds: for durations."""
        ...


class Stage(Protocol):
    """One step of a pipeline; a plain async function is one.

    Return a changed copy of the exchange, or the very object given ("passed"). An UpstreamError,
    InvalidRequest, NotCached, PipelineClosed or cancellation reaches the caller unchanged; any other
    exception is reported and counts as "passed".
    """

    async def __call__(self, exchange: Exchange, /) -> Exchange: ...


@runtime_checkable
class Managed(Protocol):
    """Something long-lived: entered before first use, left after last.

    It may be entered again while open (by users that share it), and then closes with the last.
    """

    def lifespan(self) -> AbstractAsyncContextManager[None]: ...


class Driver(Protocol):
    """What a pipeline offers its stages."""

    clock: Clock
    ttl: float | None
    """Default seconds an answer may be served; None never expires."""
    strict: bool
    """True lets failures of stages reach the caller (tests)."""
    generation: int
    """Grows with every invalidation: an answer asked for in an older one is never stored or shared."""
    consistency: Consistency
    """That of requests which ask for none; see ``Exchange.strong``."""

    async def run(self, exchange: Exchange, stages: Sequence[Stage]) -> Exchange:
        """Run inner stages under the pipeline's failure policy (for a stage that holds stages)."""
        ...

    def emit(self, event: Event) -> None:
        """Hand an event to the hooks and counters."""
        ...


@runtime_checkable
class Backend(Protocol):
    """A store of entries.

    Promise: ``get`` returns what was put under that very key, whole and unexpired, or None; only the
    embedding may be left out of it. Errors are BackendError and nothing else. Safe for concurrent use
    and under cancellation at any await.
    """

    async def get(self, key: bytes) -> Entry | None:
        """The entry under a 32-byte key, or None when absent or expired."""
        ...

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """As ``get``, for several keys at once; same order, same length."""
        ...

    async def put(self, entry: Entry) -> None:
        """Store, replacing; on return the entry is as durable as the backend makes it."""
        ...

    async def delete(self, keys: Collection[bytes]) -> int:
        """Remove; the number of entries that were there."""
        ...

    def scan(self, partition: bytes | None = None) -> AsyncIterator[Entry]:
        """Every live entry, of one partition or of all, oldest first.

        Changes made meanwhile may or may not show.
        """
        ...


@runtime_checkable
class Instant(Protocol):
    """A backend that holds some entries where a look costs no wait."""

    def at_hand(self, key: bytes) -> Entry | None:
        """The entry, if it can be had without waiting; None says nothing about what ``get`` would find."""
        ...


@runtime_checkable
class Conditional(Protocol):
    """A backend that can look and change in one step, which nothing comes in between."""

    async def add(self, entry: Entry) -> bool:
        """As ``put``, unless a live entry is there already; whether it was stored."""
        ...

    async def remove(self, entry: Entry) -> bool:
        """Delete, if what is stored under the key is still this very entry, its embedding aside; whether."""
        ...


@runtime_checkable
class Taggable(Protocol):
    """A backend that finds entries by tag."""

    async def delete_tagged(self, tags: Collection[str]) -> int:
        """Remove entries carrying any of the tags; the number removed."""
        ...


@runtime_checkable
class Clearable(Protocol):
    """A backend that can forget everything at once."""

    async def clear(self) -> int:
        """Remove every entry; the number removed."""
        ...


@runtime_checkable
class Measurable(Protocol):
    """A backend that knows its size."""

    async def measure(self) -> Mapping[str, int]:
        """At least ``entries`` and ``bytes``; ``evictions`` and more where known."""
        ...


@runtime_checkable
class Vectors(Protocol):
    """A backend whose vectors can be read without the answers, and that tells what has changed since.

    What a semantic index is built from. Expired entries may still show.
    """

    @property
    def index_folder(self) -> Path | None:
        """Where snapshots of an index over this store may lie; None keeps them nowhere."""
        ...

    async def vector_groups(self) -> list[VectorGroup]:
        """How many vectors there are of each partition and space."""
        ...

    async def vectors(self, partition: bytes, space: bytes, *, after: int = 0) -> VectorPage:
        """Some vectors of a partition, from a place on; 0 is the beginning.

        One stored meanwhile may or may not show; one that was there before and stays there shows once.
        """
        ...

    async def vector_changes(self, after: int | None) -> VectorChanges:
        """What has changed after a cursor, in every partition; None: nothing, but where the end is now.

        Of a key that changed several times it is enough to tell once. Cursors belong to one store:
        they outlive its processes where it does.
        """
        ...


@runtime_checkable
class Labels(Protocol):
    """A backend that keeps what was learnt about near questions, and tells it to everybody.

    Labels outlive the entries they are about: a question that is answered anew is still that question.
    The oldest may be forgotten.
    """

    async def put_labels(self, labels: Sequence[Label]) -> None:
        """Keep, all or none."""
        ...

    async def labels(self, after: int) -> LabelPage:
        """Some of those stored after a cursor, by this process or another, oldest first; 0 is the beginning.

        One that was stored before a cursor was told is never told after it.
        """
        ...


@runtime_checkable
class Feed(Protocol):
    """A backend that numbers its changes and tells them to every process that shares it.

    Its ``get`` and ``get_many`` return entries with their ``generation``. Numbers of different keys need
    not be comparable.
    """

    def position(self, key: bytes) -> int:
        """A fill token: every invalidation of that key, or of a tag, that begins later has a larger number.

        At hand, without asking the store: what the last look at it has told, at least one that has found
        nothing under that key. It may be older than need be; 0 while nothing is known.
        """
        ...

    async def fill(self, entry: Entry, *, since: int | None) -> Future[int | None]:
        """As ``put``, unless the key or one of the entry's tags was invalidated after a position.

        A key may count as invalidated when an entry of it was removed by a tag.

        Returns once the entry is accepted, as ``put`` does. The future has its generation once it is stored,
        or None when it was voided; or a BackendError. It is the store's and must not be cancelled.

        Args:
            entry: what to store.
            since: from ``position``, before the answer was asked for; None stores in any case. One that is
                too old to tell voids the entry.
        """
        ...

    async def generations(self, keys: Sequence[bytes]) -> list[int | None]:
        """The generation of what is stored under each key now; None for nothing."""
        ...

    async def voided(self, key: bytes, tags: Collection[str], since: int) -> bool:
        """Whether that key or one of the tags was invalidated after a position, as far as it can be told."""
        ...

    async def changes(self, after: int | None) -> Changes:
        """What has changed after a cursor; None: nothing, but where the end is now.

        Cursors belong to one store: they outlive its processes where it does. They are no positions.
        """
        ...

    async def news(self, seconds: float) -> None:
        """Return when something may have changed, after so many seconds at the latest."""
        ...


@runtime_checkable
class Confirming(Protocol):
    """A backend that may serve what others have replaced meanwhile, unless asked not to."""

    async def confirmed(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """As ``get_many``, of entries that the store behind it holds at this moment."""
        ...


@runtime_checkable
class Flights(Protocol):
    """A backend through which processes agree on who asks the upstream, and hand on the answer as it comes.

    A flight is known by bytes of which the first 32 are the question's key. Best effort: two may come to lead
    at once when the store fails.
    """

    async def board(self, flight: bytes, *, key: bytes, tags: Collection[str], seconds: float) -> Boarding:
        """Take the lead of a flight for so many seconds, or follow the one who has it.

        A flight that began before its key or one of the tags was invalidated is followed by nobody.
        """
        ...

    async def renew(self, flight: bytes, number: int, *, seconds: float) -> bool:
        """Hold the lead for so many seconds from now; whether it still is this process's."""
        ...

    async def append(
        self,
        flight: bytes,
        number: int,
        frames: Sequence[bytes],
        *,
        end: str | None = None,
        alone: float = 0.0,
    ) -> bool:
        """Write down what the leader has got; whether it still leads (otherwise nothing is written).

        Args:
            flight: which.
            number: of the boarding.
            frames: in order.
            end: how it ended: gives the lead back; the log is kept for a few seconds more. ``"whole"``: also
                keeps the flight open for a moment to those who were already looking for the answer.
            alone: with ``end``, seconds for which nobody is to wait for this question.
        """
        ...

    async def log(self, flight: bytes, number: int, *, after: int) -> FlightLog:
        """What is written down after a place; 0 is the beginning."""
        ...

    async def flight_news(self, flight: bytes, seconds: float) -> None:
        """Return when there may be something new of a flight, after so many seconds at the latest."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors. Raises EmbedderError and nothing else."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    @property
    def dim(self) -> int:
        """Length of the vectors; 0 when it is not known before the first is made."""
        ...

    async def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """float32 array, shape (n, dim), rows of norm 1 in the order of the texts.

        The vector of a text depends on nothing but the text. Raises TextRefused when one of the texts
        has no vector.
        """
        ...


@runtime_checkable
class Fingerprinted(Protocol):
    """An embedder that knows which model it is, beyond its name."""

    @property
    def fingerprint(self) -> bytes:
        """16 bytes that stand for name, weights, dim, pooling and window; known once a text was embedded."""
        ...


@runtime_checkable
class VectorIndex(Protocol):
    """Vectors of one partition under their keys. Not safe for threads: one at a time uses it.

    Vectors are float32 arrays with rows of norm 1. Raises ValueError for any that is not finite or has
    another dim, and then changes nothing.
    """

    def __len__(self) -> int:
        """Keys held."""
        ...

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Hold vectors, shape (n, dim), in place of earlier ones under these 32-byte keys."""
        ...

    def remove(self, keys: Collection[bytes]) -> int:
        """Let go of keys; the number that were held."""
        ...

    def nearest(self, queries: NDArray[np.float32], k: int) -> list[list[Neighbour]]:
        """The k nearest of each query, shape (m, dim), best first; fewer when fewer are held."""
        ...


class SemanticIndex(Protocol):
    """The questions of every partition of a store, by meaning."""

    async def nearest(
        self, partition: bytes, embedding: Embedding, k: int, *, vectors: int = 0
    ) -> list[Neighbour]:
        """The nearest stored questions of that partition and space, best first.

        An entry may be gone by the time it is looked up: say so with ``forget``.

        Args:
            partition: 32 bytes.
            embedding: the question's.
            k: how many, 1 or more.
            vectors: of so many of the first, the vector as well, where it can be had.
        """
        ...

    def learn(self, entry: Entry) -> None:
        """Take up an entry that has just been stored; found by any ``nearest`` that begins later."""
        ...

    def forget(self, partition: bytes, keys: Collection[bytes]) -> None:
        """Let go of entries that are not in the store any more."""
        ...


@runtime_checkable
class Searching(Protocol):
    """A backend that can find near questions itself."""

    def semantic_index(self) -> SemanticIndex | None:
        """Its own index; None: it is to be built from what it holds, as for other backends."""
        ...


@runtime_checkable
class Decision(Protocol):
    """Says which stored answer, if any, answers a near question. It may do I/O; it never stores."""

    @property
    def lowest(self) -> float:
        """Cosine below which it accepts nothing, -1 to 1: such candidates need not be proposed."""
        ...

    @property
    def neighbours(self) -> int:
        """How many of the nearest stored questions it wants to see; 0: the candidates are enough."""
        ...

    async def rule(self, exchange: Exchange, candidates: Sequence[Candidate], /) -> Ruling:
        """Rule over candidates, best first, that have passed all other checks; there is at least one."""
        ...


@runtime_checkable
class Comparing(Decision, Protocol):
    """A decision that compares vectors itself: of questions that stand in no index, being in flight."""

    def nearest(self, vector: bytes, others: Sequence[bytes], k: int) -> list[tuple[int, float]]:
        """Places and cosines of the k nearest of some vectors, best first, none below ``lowest``.

        Args:
            vector: float32, little-endian, norm 1; the others likewise, of the same length.
            others: at least one.
            k: how many at most.
        """
        ...


@runtime_checkable
class Learning(Protocol):
    """A decision that learns from what becomes known of the answers."""

    def learn(
        self,
        request: Request,
        judgement: Judgement,
        *,
        same: bool,
        kind: LabelKind,
        missed: float = 0.0,
        accepted: float = 0.0,
    ) -> None:
        """Take up whether the judged candidate's answer is right; quick, and stored behind the caller.

        Args:
            request: what was asked.
            judgement: what the decision had thought of it.
            same: whether the stored answer is right.
            kind: how it became known.
            missed: share of right answers that who judged calls wrong, 0 to 1.
            accepted: share of wrong answers that who judged calls right, 0 to 1.
        """
        ...


@runtime_checkable
class Accountable(Protocol):
    """A decision that knows how often it was wrong."""

    def account(self) -> Account:
        """What it knows now."""
        ...


class AnswerEquivalence(Protocol):
    """Tells whether two answers, to two questions, say the same."""

    @property
    def missed(self) -> float:
        """Least share of equal answers it calls different, 0 to 1, as measured.

        The least, because it is taken off the answers found wrong.
        """
        ...

    @property
    def accepted(self) -> float:
        """Largest share of different answers it calls equal, 0 to 1, as measured."""
        ...

    async def __call__(self, pair: AnswerPair, /) -> bool | None:
        """True: the same. False: different. None: it cannot tell."""
        ...


class Upstream(Protocol):
    """Who makes the answers. Raises UpstreamError and nothing else."""

    async def fetch(self, request: Request) -> Response:
        """The whole answer. Returns only successful (2xx) answers."""
        ...

    async def stream(self, request: Request) -> Stream:
        """The answer as it arrives; returns once the upstream has accepted the request."""
        ...


class Progress(Protocol):
    """How far one streamed answer has come."""

    def note(self, document: Mapping[str, Any]) -> None:
        """Take in the next event, which is no error. Raises ValueError when no answer has such an event."""
        ...

    def missing(self) -> str | None:
        """Why the answer cannot end here (``"before 1 of 2 choices had finished"``); None when it can."""
        ...


class Dialect(Protocol):
    """One wire protocol, as pure functions over bodies and bytes.

    ``check``, ``bypass`` and ``identity`` get plain JSON data; the others the body as sent.
    """

    name: str
    path: str
    """Where requests go, below the base URL: ``"/chat/completions"``."""
    closing: bytes
    """What follows the last event of a stream on the wire; empty where nothing does."""
    repeats: bool
    """Whether answers repeat fields that are not in the key: ``addressed`` is called only then."""

    def check(self, body: Mapping[str, Any]) -> None:
        """Raise InvalidRequest, naming the field, for a body no upstream of this protocol could take."""
        ...

    def identity(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """All that shapes the answer, in canonical spelling: every field except the neutral ones.

        ``body`` is plain JSON data of the caller's own copy and may be changed in place.
        """
        ...

    def split(self, identity: Mapping[str, Any], history: History = "equal") -> tuple[Any, str | None]:
        """(context, question): all that must be equal for a semantic hit, and the text that may differ.

        question is None when the request has no single text to compare. ``history`` says how much of
        the conversation before the question belongs to the context.
        """
        ...

    def bypass(self, body: Mapping[str, Any]) -> str | None:
        """A reason why this request must never touch the cache, or None."""
        ...

    def verdict(self, body: Mapping[str, Any], response: Response) -> str | None:
        """A reason why this answer must not be stored, or None (law: a poisoned entry is impossible)."""
        ...

    def assemble(self, frames: Sequence[bytes]) -> bytes:
        """The JSON document an unstreamed call would have returned. Raises ValueError when it cannot."""
        ...

    def replay(self, body: Mapping[str, Any], response: Response) -> Iterable[bytes]:
        """The frames of a stored answer: as recorded, or made from the document.

        Raises InvalidRequest where the protocol has no streams, ValueError for a document that is no answer.
        """
        ...

    def replayable(self, body: Mapping[str, Any], response: Response) -> str | None:
        """A reason why the stored answer lacks something this request asks of a stream, or None."""
        ...

    def progress(self) -> Progress:
        """What tells whether a streamed answer is complete; one for each answer."""
        ...

    def event(self, frame: bytes) -> bytes:
        """A frame as it goes over the wire: one server-sent event."""
        ...

    def addressed(self, body: Mapping[str, Any], payload: bytes) -> bytes:
        """A document or frame made for another request, with what it repeats of that one as in ``body``."""
        ...

    def renewed(self, payload: bytes, *, token: str, now: int) -> bytes:
        """A document or frame with an id made of ``token`` and the creation time ``now``, else as it was.

        ``token`` is 32 hex digits, the same for all frames of an answer; ``now`` is seconds since the epoch.
        """
        ...

    def failure(self, status: int, message: str, *, field: str | None = None) -> bytes:
        """An error document as servers of this protocol send it, also as an event in a stream."""
        ...

    def acts(self, response: Response) -> bool:
        """Whether the answer asks for something to be done (tool calls), whatever it says beside.

        True for what cannot be read.
        """
        ...

    def text(self, document: Any) -> str:
        """The first choice's text of an answer document; "" when there is none."""
        ...

    def delta(self, document: Any) -> str:
        """The first choice's new text of one parsed frame; "" when there is none."""
        ...

    def cost(self, response: Response) -> Cost:
        """Tokens the upstream reported (seconds are not the dialect's to know)."""
        ...

    def answer(self, body: Mapping[str, Any], text: str) -> dict[str, Any]:
        """An answer document around plain text, for upstreams that return a string."""
        ...


@runtime_checkable
class Divisible(Protocol):
    """A dialect in which one request may ask for several things, each of which can be answered alone.

    Bodies are plain JSON data that passed ``check``.
    """

    def divide(self, body: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
        """The body of each part, in order, as one would ask for that alone; None: it asks for one thing."""
        ...

    def join(self, body: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """One body that asks for some parts of ``body``, at least one, in the given order."""
        ...

    def distribute(self, parts: Sequence[Mapping[str, Any]], response: Response) -> list[Response]:
        """The answer to each part, out of the answer to the body that joins them.

        Raises ValueError when it is not that.
        """
        ...

    def merge(self, parts: Sequence[Response]) -> Response:
        """The answer to the whole, out of those to all its parts in order.

        Raises ValueError when they are none, or do not go together.
        """
        ...
