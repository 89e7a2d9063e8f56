"""The values that travel through a pipeline. All immutable; none does I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

from asynccache._errors import InvalidRequest

if TYPE_CHECKING:
    from asynccache._protocols import Upstream

__all__ = [
    "Alias",
    "Boarding",
    "Candidate",
    "Change",
    "Changes",
    "Chunk",
    "Consistency",
    "Control",
    "Cost",
    "Embedding",
    "Entry",
    "FlightLog",
    "History",
    "Mode",
    "Neighbour",
    "Request",
    "Response",
    "Saved",
    "Scope",
    "Source",
    "VectorChange",
    "VectorChanges",
    "VectorGroup",
    "VectorPage",
    "VectorRow",
    "stored_cost",
    "stored_entry",
    "stored_response",
]

Mode = Literal["fetch", "stream"]
"""How the caller wants the answer: whole, or as it arrives."""

History: TypeAlias = 'Literal["equal", "ignore"] | int'
"""What of a conversation must be equal for a semantic hit: all of it, nothing but the instructions, or
the instructions and so many messages before the question."""

Consistency: TypeAlias = Literal["eventual", "strong"]
"""Whether a stored answer may be served that another process has just replaced or removed."""

_V = TypeVar("_V", "Scope", "Control")


class Source(Enum):
    """Where an answer came from; ``.value`` is the lower-case word used in logs, metrics and headers."""

    EXACT = "exact"
    SEMANTIC = "semantic"
    TEMPLATE = "template"
    STALE = "stale"
    SHARED = "shared"
    """Made by the upstream for another request that was in flight at the same time."""
    UPSTREAM = "upstream"

    @property
    def hit(self) -> bool:
        """True when the answer was stored before this request came; False for SHARED and UPSTREAM."""
        return self is not Source.SHARED and self is not Source.UPSTREAM


def _from_mapping(kind: type[_V], name: str, given: object) -> _V:
    if isinstance(given, kind):
        return given
    if given is None:
        return kind()
    if not isinstance(given, Mapping):
        raise InvalidRequest(name, f"expected a {kind.__name__} or a mapping, got {type(given).__name__}")
    known = [f.name for f in fields(kind)]
    for key in given:
        if key not in known:
            raise InvalidRequest(f"{name}.{key}", f"unknown; known: {', '.join(known)}")
    return kind(**given)


def _check_text(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise InvalidRequest(name, f"expected a string or None, got {type(value).__name__}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(name, "text that is not valid Unicode (a lone surrogate)") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose answer this is. Entries of one scope are never served to another; None and "" differ.

    Args:
        tenant: the customer or account, or None.
        user: the person within it, or None. The body's own ``user`` field is not this.
        namespace: the application or purpose, or None.
    """

    tenant: str | None = None
    user: str | None = None
    namespace: str | None = None

    def __post_init__(self) -> None:
        for name in ("tenant", "user", "namespace"):
            _check_text(f"scope.{name}", getattr(self, name))

    @classmethod
    def of(cls, given: Scope | Mapping[str, Any] | None) -> Scope:
        """Take a Scope, a mapping of its fields, or None for the empty scope."""
        return _from_mapping(cls, "scope", given)


def _check_seconds(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRequest(name, f"expected seconds as a number or None, got {type(value).__name__}")
    if not 0 <= value < float("inf"):
        raise InvalidRequest(name, f"expected zero or more seconds, got {value!r}")


def _check_share(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRequest(name, f"expected a number from 0 to 1 or None, got {type(value).__name__}")
    if not 0 <= value <= 1:
        raise InvalidRequest(name, f"expected a number from 0 to 1, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What one request asks of the cache. The names are HTTP's (RFC 9111) where HTTP has one.

    Args:
        ttl: seconds the answer may be served once stored; None takes the pipeline's; 0 stores nothing.
        max_age: serve no stored answer older than this many seconds; None sets no limit.
        stale_if_error: where the upstream fails, serve a stored answer up to this many seconds older than
            ``max_age`` (RFC 5861), but none past its own ttl; None raises the upstream's error.
        no_cache: do not serve a stored or shared answer; the fresh one is stored.
        no_store: do not store the answer, nor share it with requests in flight.
        only_if_cached: never ask the upstream; raise ``NotCached`` instead.
        tags: labels on the stored entry, for ``invalidate(tags=...)``.
        version: part of the key; a new value (a prompt version, a document revision) starts afresh.
        threshold: least cosine of a semantic hit, 0 to 1; None takes the pipeline's. A request may raise
            it, and lower it down to the pipeline's ``threshold_floor``. For ``decision="threshold"``.
        max_error: share of semantic hits that may be wrong, 0 to 1; None takes the pipeline's. A request
            may lower it; a larger one than the pipeline's counts as the pipeline's. 0: no semantic hits.
        consistency: ``"eventual"`` or ``"strong"``, see ``CachePipeline``; None takes the pipeline's.
    """

    ttl: float | None = None
    max_age: float | None = None
    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    tags: tuple[str, ...] = ()
    version: str | None = None
    threshold: float | None = None
    max_error: float | None = None
    consistency: Consistency | None = None
    stale_if_error: float | None = None

    def __post_init__(self) -> None:
        _check_seconds("control.ttl", self.ttl)
        _check_seconds("control.max_age", self.max_age)
        _check_seconds("control.stale_if_error", self.stale_if_error)
        for name in ("no_cache", "no_store", "only_if_cached"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidRequest(f"control.{name}", "expected True or False")
        if isinstance(self.tags, str) or not all(isinstance(tag, str) and tag for tag in self.tags):
            raise InvalidRequest("control.tags", "expected a sequence of non-empty strings")
        for tag in self.tags:
            _check_text("control.tags", tag)
        object.__setattr__(self, "tags", tuple(self.tags))
        _check_text("control.version", self.version)
        _check_share("control.threshold", self.threshold)
        _check_share("control.max_error", self.max_error)
        if self.consistency not in (None, "eventual", "strong"):
            raise InvalidRequest(
                "control.consistency", f"expected 'eventual', 'strong' or None, got {self.consistency!r}"
            )

    @classmethod
    def of(cls, given: Control | Mapping[str, Any] | None) -> Control:
        """Take a Control, a mapping of its fields, or None for the defaults."""
        return _from_mapping(cls, "control", given)


NO_SCOPE: Final = Scope()
NO_CONTROL: Final = Control()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question, in the shape its wire protocol gave it.

    Args:
        body: the request body as sent; treated as immutable, and what the upstream receives.
        dialect: the wire protocol, e.g. ``"chat.completions"``.
        scope: whose request it is.
        control: what it asks of the cache.
        key: exact key, 32 bytes; empty until ``Normalize`` has run.
        partition: hash, 32 bytes, of all that must be equal for a semantic hit; empty until then.
        question: the text a semantic lookup compares; None when there is none.
        upstream: who answers this request in place of the pipeline's upstream; None is the pipeline's.
    """

    body: Mapping[str, Any]
    dialect: str = "chat.completions"
    scope: Scope = NO_SCOPE
    control: Control = NO_CONTROL
    key: bytes = b""
    partition: bytes = b""
    question: str | None = field(default=None, repr=False)
    upstream: Upstream | None = field(default=None, repr=False, compare=False)

    @classmethod
    def plain(cls, body: Mapping[str, Any], scope: Scope, control: Control) -> Request:
        """A chat-completions request, not normalized."""
        return _request(body, "chat.completions", scope, control, b"", b"", None, None)

    def identified(
        self, key: bytes, partition: bytes, question: str | None, body: Mapping[str, Any] | None = None
    ) -> Request:
        """The same request with its key, partition and question, and perhaps an equal body of its own."""
        own = self.body if body is None else body
        return _request(own, self.dialect, self.scope, self.control, key, partition, question, self.upstream)

    def __repr__(self) -> str:
        return f"<Request {self.dialect} {self.key.hex()[:8] or 'not normalized'}>"


(
    _set_body,
    _set_dialect,
    _set_scope,
    _set_control,
    _set_key,
    _set_partition,
    _set_question,
    _set_upstream,
) = (getattr(Request, each.name).__set__ for each in fields(Request))


def _request(  # noqa: PLR0917  (keywords would cost what this function saves)
    body: Mapping[str, Any],
    dialect: str,
    scope: Scope,
    control: Control,
    key: bytes,
    partition: bytes,
    question: str | None,
    upstream: Upstream | None,
) -> Request:
    # On the path of every hit: the slots set directly cost half of what a frozen __init__ does.
    made = object.__new__(Request)
    _set_body(made, body)
    _set_dialect(made, dialect)
    _set_scope(made, scope)
    _set_control(made, control)
    _set_key(made, key)
    _set_partition(made, partition)
    _set_question(made, question)
    _set_upstream(made, upstream)
    return made


@dataclass(frozen=True, slots=True)
class Response:
    """One complete answer.

    Args:
        body: the answer as one JSON document: as the upstream sent it, or assembled from ``frames``.
        frames: for an answer that arrived as a stream, the payload of each server-sent event in
            order, as received, without ``[DONE]``; empty otherwise.
    """

    body: bytes
    frames: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"<Response {len(self.body)} bytes, {len(self.frames)} frames>"


_set_response_body, _set_frames = (getattr(Response, each.name).__set__ for each in fields(Response))


def stored_response(body: bytes, frames: tuple[bytes, ...]) -> Response:
    """A response as a store reads it; see ``stored_entry``."""
    made = object.__new__(Response)
    _set_response_body(made, body)
    _set_frames(made, frames)
    return made


@dataclass(frozen=True, slots=True)
class Cost:
    """What making an answer took. Tokens are 0 when the upstream reported none."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


_set_prompt_tokens, _set_completion_tokens, _set_seconds = (
    getattr(Cost, each.name).__set__ for each in fields(Cost)
)


def stored_cost(prompt_tokens: int, completion_tokens: int, seconds: float) -> Cost:
    """A cost as a store reads it; see ``stored_entry``."""
    made = object.__new__(Cost)
    _set_prompt_tokens(made, prompt_tokens)
    _set_completion_tokens(made, completion_tokens)
    _set_seconds(made, seconds)
    return made


class Embedding(NamedTuple):
    """The vector of a question."""

    space: bytes
    """16 bytes: which embedder made it. Vectors of different spaces are never compared."""
    vector: bytes
    """float32, little-endian, norm 1."""

    def __repr__(self) -> str:
        return f"<Embedding {self.space.hex()[:8]} {len(self.vector) // 4}>"


class Alias(NamedTuple):
    """Makes an entry a signpost: another question that the answer of another entry has answered."""

    of: bytes
    """Key of the entry that holds the answer, 32 bytes; never an alias itself."""
    similarity: float
    """Cosine of the two questions."""
    space: bytes
    """16 bytes: in whose judgement; see ``Embedding.space``."""

    def __repr__(self) -> str:
        return f"<Alias of {self.of.hex()[:8]}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a backend stores.

    Args:
        key: exact key, 32 bytes.
        partition: 32 bytes; covers the scope, so that it can be checked again on read.
        dialect: wire protocol of the answer.
        response: the answer.
        created_at: seconds since the epoch.
        ttl: seconds from ``created_at``; None never expires.
        question: the text a semantic lookup compares, or None.
        tags: labels for invalidation.
        version: ``Control.version`` of the request it answered.
        cost: what a hit saves.
        embedding: the question's vector, or None. A backend's ``get`` may leave it out: it is read
            through ``scan`` and ``Vectors``.
        alias: set when this is no answer but a signpost to one; ``response`` is empty then.
        generation: number of the change that stored it, where the backend has a ``Feed``; None elsewhere,
            and before it is stored. The store's knowledge, no part of what is stored: entries that differ
            in nothing else are equal.
    """

    key: bytes
    partition: bytes
    dialect: str
    response: Response
    created_at: float
    ttl: float | None = None
    question: str | None = None
    tags: tuple[str, ...] = ()
    version: str | None = None
    cost: Cost = Cost()
    embedding: Embedding | None = None
    alias: Alias | None = None
    generation: int | None = field(default=None, compare=False)

    @property
    def expires_at(self) -> float:
        """Seconds since the epoch; infinity when the entry never expires."""
        return float("inf") if self.ttl is None else self.created_at + self.ttl

    def numbered(self, generation: int) -> Entry:
        """The same entry, as the store holds it since that change."""
        return stored_entry(
            self.key,
            self.partition,
            self.dialect,
            self.response,
            self.created_at,
            self.ttl,
            self.question,
            self.tags,
            self.version,
            self.cost,
            self.embedding,
            self.alias,
            generation,
        )

    def __repr__(self) -> str:
        return f"<Entry {self.key.hex()[:8]} {self.response!r}>"


(
    _set_entry_key,
    _set_entry_partition,
    _set_entry_dialect,
    _set_response,
    _set_created_at,
    _set_ttl,
    _set_entry_question,
    _set_tags,
    _set_version,
    _set_cost,
    _set_embedding,
    _set_alias,
    _set_generation,
) = (getattr(Entry, each.name).__set__ for each in fields(Entry))


def stored_entry(  # noqa: PLR0917  (as _request: one is made for every hit)
    key: bytes,
    partition: bytes,
    dialect: str,
    response: Response,
    created_at: float,
    ttl: float | None,
    question: str | None,
    tags: tuple[str, ...],
    version: str | None,
    cost: Cost,
    embedding: Embedding | None,
    alias: Alias | None,
    generation: int | None,
) -> Entry:
    """An entry of all its fields, none left out, as a store reads it."""
    made = object.__new__(Entry)
    _set_entry_key(made, key)
    _set_entry_partition(made, partition)
    _set_entry_dialect(made, dialect)
    _set_response(made, response)
    _set_created_at(made, created_at)
    _set_ttl(made, ttl)
    _set_entry_question(made, question)
    _set_tags(made, tags)
    _set_version(made, version)
    _set_cost(made, cost)
    _set_embedding(made, embedding)
    _set_alias(made, alias)
    _set_generation(made, generation)
    return made


class Candidate(NamedTuple):
    """An entry a lookup proposes; a validator decides."""

    entry: Entry
    source: Source
    age: float
    """Seconds since the entry was made, at lookup; never negative."""
    similarity: float = 1.0
    """Cosine to the question asked, -1 to 1; 1.0 for an exact match."""
    via: bytes | None = None
    """Key of the alias that led to the entry; None when its own question did."""


class Neighbour(NamedTuple):
    """What a semantic index found."""

    key: bytes
    similarity: float
    """Cosine, -1 to 1."""
    vector: bytes | None = None
    """float32, little-endian, norm 1; None unless asked for."""

    def __repr__(self) -> str:
        return f"<Neighbour {self.key.hex()[:8]} {self.similarity:.4f}>"


class VectorRow(NamedTuple):
    """One vector a backend holds."""

    key: bytes
    vector: bytes
    """float32, little-endian, norm 1."""
    expires_at: float
    """Seconds since the epoch; infinity for never."""


class VectorPage(NamedTuple):
    """Some vectors of one partition and space, and the place after which to go on; None after the last."""

    rows: list[VectorRow]
    after: int | None


class VectorChange(NamedTuple):
    """A key whose vector was stored, replaced or removed, and what it is now."""

    partition: bytes
    space: bytes
    key: bytes
    row: VectorRow | None
    """None: this partition and space hold no vector of that key any more."""


class VectorChanges(NamedTuple):
    """What has changed after a cursor, in order."""

    changes: list[VectorChange]
    cursor: int
    """After which to go on."""
    more: bool
    """Whether there is more at once."""
    gap: bool = False
    """True when the cursor is too old or foreign: what happened since is not known any more."""


class Change(NamedTuple):
    """A key whose entry was stored, replaced or removed.

    Of no key: something was invalidated by what only the store can look up, a tag say. Entries that it does
    not hold may be among it.
    """

    key: bytes
    number: int
    """Of the change. Of one key, a later change has a larger number."""

    def __repr__(self) -> str:
        return f"<Change {self.key.hex()[:8]} {self.number}>"


class Changes(NamedTuple):
    """What has changed after a cursor, in order."""

    changes: list[Change]
    cursor: int
    """After which to go on."""
    more: bool
    """Whether there is more at once."""
    gap: bool = False
    """True when it is not known any more what happened since: then anything may have changed."""


class Boarding(NamedTuple):
    """What a process was told that wants the answer to a question others may be asking."""

    number: int
    """Of the flight: a later flight of the same question has a larger one. 0 when ``alone``."""
    leads: bool
    """Whether this process asks the upstream, for all."""
    alone: bool = False
    """True when answers to this question could not be shared lately: everybody asks at once."""


class FlightLog(NamedTuple):
    """What the leader of a flight has written down so far."""

    frames: list[bytes]
    """Those after the place that was asked about, in order."""
    place: int
    """After which to go on."""
    end: str | None
    """How it ended, in the leader's word; None while it has not."""
    led: bool
    """Whether its leader still holds the lease."""


class VectorGroup(NamedTuple):
    """The vectors of one partition and space."""

    partition: bytes
    space: bytes
    size: int
    """How many."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What a hit spared its caller; all zero when the upstream was asked.

    Args:
        tokens: prompt and completion tokens not billed again.
        seconds: the time the stored answer took to make.
        money: in the currency of the pipeline's ``prices``; None when no price is known.
    """

    tokens: int = 0
    seconds: float = 0.0
    money: float | None = None


class Chunk:
    """One event of a streamed answer."""

    __slots__ = ("_json", "body", "text")

    def __init__(self, body: bytes, document: Any, text: str) -> None:
        self.body: Final = body
        """The event's payload as received."""
        self.text: Final = text
        """The first choice's new text in this event; "" when it brings none."""
        self._json: Final = document

    def json(self) -> Any:
        """The payload, parsed."""
        return self._json

    def __repr__(self) -> str:
        return f"<Chunk {len(self.body)} bytes>"
