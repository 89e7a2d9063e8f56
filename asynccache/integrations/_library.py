"""A client library's requests and responses in the cache's terms, whichever of the two libraries it is."""

from __future__ import annotations

import math
import warnings
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio

from asynccache._errors import AsyncCacheError, PipelineClosed
from asynccache._wire.control import CONTROL_HEADERS
from asynccache._wire.drop_in import Call, DropIn

if TYPE_CHECKING:
    from asynccache._pipeline import CachePipeline
    from asynccache._wire.answer import Answer, Events, Headers
    from asynccache._wire.relay import Send

__all__ = ["Library", "Parts", "Passage", "headers_of"]


class Library(NamedTuple):
    """What is needed of a client library; its objects are alike in all that is used here."""

    request: Callable[..., Any]
    response: Callable[..., Any]
    transport: Callable[[], Any]
    """Makes the inner transport of an async client."""
    blocking_transport: Callable[[], Any]
    """Makes the inner transport of a blocking client."""
    body: Callable[[Events, Callable[[AsyncCacheError], Exception]], Any]
    """Makes the body of a response to an async client."""
    blocking_body: Callable[[Events, Callable[[AsyncCacheError], Exception]], Any]
    read_timeout: Callable[..., Exception]
    read_error: Callable[..., Exception]


class Parts:
    """What the shell of an async client and that of a blocking one have in common.

    Args:
        library: whose objects come in and go out.
        pipeline: opened with the first call if it is not open by then.
        drop_in: answers from that pipeline.
        transport: the inner transport; None makes the library's own.
    """

    def __init__(self, library: Library, pipeline: CachePipeline, drop_in: DropIn, transport: Any) -> None:
        self.library: Final = library
        self.pipeline: Final = pipeline
        self.drop_in: Final = drop_in
        self.transport: Final = transport
        self._warned = False

    def warn(self, error: Exception) -> None:
        """Say that calls go out uncached, once."""
        if not self._warned:
            self._warned = True
            words = f"asynccache: requests go out uncached ({type(error).__name__}: {error})"
            warnings.warn(words, RuntimeWarning, stacklevel=2)


class Passage:
    """One request of a client on its way through the cache.

    Args:
        parts: whose library it is of.
        request: the library's.
    """

    def __init__(self, parts: Parts, request: Any) -> None:
        self._parts: Final = parts
        self._request: Final = request
        self._call: Final = _call(request)
        self._extensions: Mapping[str, Any] = {}  # of the last response to this very request
        self.sent = False
        """Whether the request itself has been sent: it is not to be sent again then."""

    @property
    def cacheable(self) -> bool:
        """Whether it is the cache's business. A target of its own hides what is asked: the URL tells not."""
        return self._call.dialect is not None and "target" not in self._request.extensions

    async def answered(
        self, content: bytes, ready: Callable[[], Awaitable[None]], send: Send
    ) -> Answer | None:
        """What the cache answers, or None: send the request as if there were no cache.

        Args:
            content: the request's body.
            ready: sees that the pipeline is open.
            send: through the inner transport.

        Raises:
            Exception: whatever ``send`` raises, and the library's own error once the request was sent.
        """
        # While the cache or another's call is waited for, this caller's own patience counts; once its own
        # call goes out, the inner transport keeps the time.
        with anyio.CancelScope() as waiting:
            waiting.deadline = anyio.current_time() + _patience(self._request)

            async def sending(body: bytes) -> Any:
                self.sent = True
                waiting.deadline = math.inf
                return await send(body)

            try:
                await ready()
                answer = await self._parts.drop_in(self._call, content, sending)
                if answer is None and self.sent and not self._parts.pipeline.is_open:
                    raise PipelineClosed("the cache was closed while the upstream was answering")
            except AsyncCacheError as error:
                self.uncached(error)
                return None
            return answer
        if self.sent:  # in the very moment in which the patience ended
            raise self._parts.library.read_timeout("waited too long for an answer", request=self._request)
        return None

    def uncached(self, error: AsyncCacheError) -> None:
        """Let the request go out uncached, with a warning.

        Raises:
            Exception: the library's own error: the request has been sent already.
        """
        if self.sent:
            raise self.broken(error) from error
        self._parts.warn(error)

    def broken(self, error: AsyncCacheError) -> Exception:
        """The library's own error for an answer that the cache's end cuts off."""
        return self._parts.library.read_error(str(error), request=self._request)

    def outgoing(self, body: bytes) -> Any:
        """The request with that body, and without what it asks of the cache."""
        request = self._request
        headers = [(name, value) for name, value in request.headers.raw if name.lower() not in _REWRITTEN]
        return self._parts.library.request(
            request.method, request.url, headers=headers, content=body, extensions=request.extensions
        )

    def received(self, response: Any) -> None:
        """Note what came back."""
        self._extensions = {name: response.extensions[name] for name in _TOLD if name in response.extensions}

    def response(
        self, answer: Answer, body: Callable[[Events, Callable[[AsyncCacheError], Exception]], Any]
    ) -> Any:
        """The library's response; ``body`` makes its body, where that comes as events."""
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        made = self._parts.library.response
        extensions = dict(self._extensions) if _forwarded(answer.headers) else {}
        if isinstance(answer.body, bytes):
            return made(answer.status, headers=headers, content=answer.body, extensions=extensions)
        return made(
            answer.status, headers=headers, stream=body(answer.body, self.broken), extensions=extensions
        )


_REWRITTEN: Final = frozenset(
    name.encode() for name in (*CONTROL_HEADERS, "content-length", "transfer-encoding")
)

_TOLD: Final = ("http_version", "reason_phrase")
"""Extensions of a response that stay true when its body has been read."""


def headers_of(message: Any) -> Headers:
    """The headers of a request or a response, one character for each byte."""
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in message.headers.raw]


def _call(request: Any) -> Call:
    url = request.url
    return Call(
        method=request.method,
        origin=f"{url.scheme}://{url.netloc.decode('ascii')}",
        path=url.raw_path.decode("ascii").partition("?")[0],
        query=url.query.decode("ascii"),
        headers=headers_of(request),
    )


def _patience(request: Any) -> float:
    """Seconds this client waits for a response: the sum of its phases; infinite when one has no limit."""
    timeout = request.extensions.get("timeout", {})
    phases = [timeout.get(name) for name in ("pool", "connect", "write", "read")]
    return math.inf if None in phases else float(sum(phases))


def _forwarded(headers: Headers) -> bool:
    """Whether the answer came from the upstream for this request, rather than from the store."""
    return dict(headers).get("cache-status", "").startswith("asynccache; fwd=")
