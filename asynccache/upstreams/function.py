"""The upstream that is an async function of yours."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeGuard

import orjson

from asynccache._errors import ConfigurationError, UpstreamInvalidAnswer
from asynccache._keys import to_json
from asynccache._models import Response
from asynccache._registry import find_dialect
from asynccache._stream import Stream
from asynccache.upstreams._bodies import for_fetch, for_stream
from asynccache.upstreams._callable_frames import CallableFrames, encoded
from asynccache.upstreams._failures import check_document
from asynccache.upstreams._replay import each, replay

if TYPE_CHECKING:
    from asynccache._models import Request

__all__ = ["Answering", "CallableUpstream", "is_async_callable"]

Answering: TypeAlias = "Callable[[dict[str, Any]], Awaitable[Any] | AsyncIterable[Any]]"
"""An ``async def`` that takes a request body; what it may give is said at ``CallableUpstream``."""


def is_async_callable(given: object) -> TypeGuard[Answering]:
    """Whether calling it gives something to await or to iterate over with ``async for``."""
    called = getattr(type(given), "__call__", None)  # noqa: B004  (which kind of callable it is)
    return any(
        inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        for function in (given, called)
    )


class CallableUpstream:
    """Asks an async callable.

    It is given a copy of the request body, as plain JSON data. ``body["stream"]`` is True when a stream
    is asked for and absent otherwise, so a call of an SDK can be handed the body as ``**body``. It gives
    either

    * a whole answer: a mapping or a pydantic model (the protocol's document), ``bytes`` (that document
      as JSON), or ``str`` (just the text), or
    * a stream, by being an async generator or by returning an async iterable: of ``str`` (pieces of
      the text), of mappings or models (the protocol's events), or of ``bytes`` (those events as JSON).

    Either will do for either question: a stream is assembled, a whole answer is replayed. Usage is
    passed on where the callable reports it. What the callable raises is not wrapped.

    Args:
        function: an ``async def``, or an object whose ``__call__`` is one.

    Raises:
        ConfigurationError: it is not async: it would block every other request.
    """

    def __init__(self, function: Answering) -> None:
        if not is_async_callable(function):
            raise ConfigurationError(
                f"upstream: {_name(function)} is not async; define it with `async def` "
                "(a blocking function can be called with anyio.to_thread.run_sync inside one)"
            )
        self._function: Final = function

    async def fetch(self, request: Request) -> Response:
        """The whole answer.

        Raises:
            UpstreamInvalidAnswer: the callable gave something that is no answer.
            UpstreamServerError: it gave an error document.
            UpstreamStreamError: it streamed an answer that is not complete.
        """
        given = await self._call(for_fetch(request.body))
        if not _is_stream(given):
            return Response(_document(request, given))
        frames = CallableFrames(request, given)
        try:
            received = tuple([frame async for frame in frames])
        finally:
            await frames.aclose()
        try:
            return Response(find_dialect(request.dialect).assemble(received), received)
        except ValueError as error:
            raise UpstreamInvalidAnswer("the callable's events do not make up an answer") from error

    async def stream(self, request: Request) -> Stream:
        """The answer as it arrives; returns when the callable does, for a generator at once.

        Raises:
            UpstreamInvalidAnswer: as ``fetch``; also from the iteration.
            UpstreamServerError: as ``fetch``.
            UpstreamStreamError: from the iteration, when the answer is not complete.
        """
        body = for_stream(request.body)
        given = await self._call(body)
        if _is_stream(given):
            frames = CallableFrames(request, given)
            return Stream(frames, aclose=frames.aclose)
        replayed = each(replay(request.dialect, body, _document(request, given)))
        return Stream(replayed, aclose=replayed.aclose)

    async def _call(self, body: Mapping[str, Any]) -> Any:
        # All of it is the callable's own: what it changes is nobody else's.
        given = self._function(orjson.loads(to_json(body)))
        return await given if inspect.isawaitable(given) else given

    def __repr__(self) -> str:
        return f"<CallableUpstream {_name(self._function)}>"


def _name(function: object) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__


def _is_stream(given: object) -> bool:
    return isinstance(given, AsyncIterable) and not isinstance(given, Mapping)


def _document(request: Request, given: Any) -> bytes:
    if isinstance(given, str):
        return to_json(find_dialect(request.dialect).answer(request.body, given))
    document = encoded(given, "the callable returned")
    check_document(document)
    return document
