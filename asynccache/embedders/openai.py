"""The embedder that asks an OpenAI-compatible server: OpenAI, vLLM, and others that have /embeddings."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import anyio
import httpx2
import orjson

from asynccache._errors import ConfigurationError, EmbedderUnavailable, TextRefused
from asynccache._lifespan import SharedLifespan
from asynccache.embedders._options import checked_number, checked_seconds
from asynccache.embedders.function import CallableEmbedder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["UpstreamEmbedder"]

_KEEPALIVE_SECONDS: Final = 4.0
"""uvicorn, and so vLLM, closes a connection after five idle seconds; who closes first loses no request."""

_ON_LOOP: Final = 64 * 2**10
"""Bytes of an answer parsed on the event loop; more may hold it for milliseconds."""

_REFUSING: Final = frozenset({400, 413, 422})
"""Statuses that a text earns that is too long, or else not to the server's liking."""

_HARMLESS: Final = "hello"
"""A text that every model can embed."""

_DOUBT_AFTER: Final = 8
"""Refusals without a vector in between, after which it may be the server's doing again."""

_SPACE_OR_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")


class UpstreamEmbedder:
    """Asks a server for vectors. Use inside ``lifespan()``; a pipeline does that.

    Nothing is sent twice: while the server fails, the exact tier goes on without it. Redirects are not
    followed. A server that refuses texts is asked for the vector of a harmless one now and then: if it
    refuses that one too, the texts are not to blame, and it counts as unavailable.

    Args:
        base_url: with the version, as the OpenAI SDK takes it, e.g. ``"http://127.0.0.1:8000/v1"``.
        model: the model's name for the server.
        api_key: sent as a bearer token. None takes ``OPENAI_API_KEY``, for ``https://api.openai.com`` only;
            "" sends none.
        headers: sent with every request; they win over the client's own.
        extra: further fields of the request's body, such as ``{"dimensions": 256}``.
        name: tells the model, with all that shapes its vectors; None takes ``model`` and ``extra``.
        dim: length of the vectors; None takes that of the first.
        batch: texts in one request. Default 64.
        timeout: seconds for one request. Default 30.
        calls: requests under way at once. Default 8.
        memo: texts whose vectors are remembered; 0 remembers none. Default 10000.

    Raises:
        ConfigurationError: an option cannot work.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        name: str | None = None,
        dim: int | None = None,
        batch: int = 64,
        timeout: float = 30.0,
        calls: int = 8,
        memo: int = 10_000,
    ) -> None:
        self._url: Final = _checked_url(base_url)
        if not isinstance(model, str) or not model:
            raise ConfigurationError(f"model: expected the model's name for the server, got {model!r}")
        self._body: Final = {"encoding_format": "float", **(extra or {}), "model": model}
        self._headers: Final = _checked_headers(_checked_key(api_key, self._url), headers)
        self._timeout: Final = checked_seconds("timeout", timeout)
        self._connections: Final = checked_number("calls", calls, least=1)
        self._client: httpx2.AsyncClient | None = None  # None while closed
        # Of its own: all of the default limiter's threads may be waiting for these very vectors.
        self._threads: Final = anyio.CapacityLimiter(2)
        self._believed = 0  # refusals to come that are put down to the text
        self._texts: Final = CallableEmbedder(
            self._ask,
            name=name or _named(model, extra),
            dim=dim,
            batch=batch,
            timeout=timeout,
            calls=calls,
            memo=memo,
        )
        self._lifespan: Final = SharedLifespan(self._opened)

    @property
    def name(self) -> str:
        """What tells the model from others."""
        return self._texts.name

    @property
    def dim(self) -> int:
        """Length of the vectors; 0 when it was not given and none has been made yet."""
        return self._texts.dim

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold the connections open; may be entered several times, and closes with the last."""
        return self._lifespan()

    async def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """float32 array, shape (n, dim), rows of norm 1 in the order of the texts; not to be written to.

        Raises:
            TextRefused: a text is empty, was refused by the server, or has no usable vector.
            EmbedderUnavailable: not open, or the server failed or was too slow.
        """
        return await self._texts.embed(texts)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        limits = httpx2.Limits(
            max_connections=self._connections,
            max_keepalive_connections=self._connections,
            keepalive_expiry=_KEEPALIVE_SECONDS,
        )
        client = httpx2.AsyncClient(limits=limits, timeout=self._timeout, headers=self._headers)
        self._client = client
        try:
            async with self._texts.lifespan():
                yield
        finally:
            self._client = None
            with anyio.CancelScope(shield=True):
                await client.aclose()

    async def _ask(self, texts: list[str]) -> list[Any]:
        client = self._client
        if client is None:
            raise EmbedderUnavailable("this embedder is not open; use it inside its lifespan()")
        response = await self._posted(client, texts)
        if response.status_code in _REFUSING:
            await self._check_configuration(client)
            raise TextRefused(f"the embeddings server refused the text ({response.status_code})")
        if not response.is_success:
            raise EmbedderUnavailable(f"the embeddings server answered {response.status_code}")
        self._believed = _DOUBT_AFTER
        body = response.content
        if len(body) <= _ON_LOOP:
            return _vectors(body, len(texts))
        return await anyio.to_thread.run_sync(_vectors, body, len(texts), limiter=self._threads)

    async def _check_configuration(self, client: httpx2.AsyncClient) -> None:
        """Raises EmbedderUnavailable when the server refuses whatever it is asked."""
        if not self._believed:
            response = await self._posted(client, [_HARMLESS])
            if not response.is_success:
                raise EmbedderUnavailable(
                    f"the embeddings server refuses every text ({response.status_code}): "
                    "look at the model's name and the extra fields"
                )
            self._believed = _DOUBT_AFTER
        self._believed -= 1

    async def _posted(self, client: httpx2.AsyncClient, texts: list[str]) -> httpx2.Response:
        try:
            return await client.post(self._url, content=orjson.dumps({**self._body, "input": texts}))
        except httpx2.RequestError as error:
            raise EmbedderUnavailable(
                f"the embeddings server could not be asked ({type(error).__name__})"
            ) from error

    def __repr__(self) -> str:
        return f"<UpstreamEmbedder {self.name!r} at {self._url}>"


def _vectors(body: bytes, count: int) -> list[Any]:
    """The vectors in the order of the texts, whatever the order of the answer."""
    try:
        vectors: dict[int, Any] = {row["index"]: row["embedding"] for row in orjson.loads(body)["data"]}
        return [_numbers(vectors[place]) for place in range(count)]
    except (KeyError, TypeError, ValueError) as error:
        raise EmbedderUnavailable(
            f"the embeddings server's answer does not hold one vector for each of {count} texts"
        ) from error


def _numbers(embedding: Any) -> Any:
    """Of an array of numbers, or of base64 over little-endian float32."""
    if not isinstance(embedding, str):
        return embedding
    import numpy as np

    return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")


def _named(model: str, extra: Mapping[str, Any] | None) -> str:
    if not extra:
        return model
    return f"{model} {orjson.dumps(dict(extra), option=orjson.OPT_SORT_KEYS).decode()}"


def _checked_url(given: str) -> str:
    if not isinstance(given, str) or _SPACE_OR_CONTROL.search(given):
        raise ConfigurationError("base_url: expected a URL without spaces or control characters")
    try:
        parts = urlsplit(given)
        sound = (
            parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        raise ConfigurationError("base_url: not a valid URL") from None  # whose words may quote a password
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("base_url: credentials do not belong in a URL; pass api_key or headers")
    if not sound or parts.query or parts.fragment:
        raise ConfigurationError("base_url: expected http(s)://host/path without a query")
    base = given.rstrip("/")
    return base if base.endswith("/embeddings") else f"{base}/embeddings"


def _checked_key(given: str | None, url: str) -> str | None:
    parts = urlsplit(url)
    if given is None and (parts.scheme, parts.hostname) == ("https", "api.openai.com"):
        given = os.environ.get("OPENAI_API_KEY")  # for its own host only: a key is not for whoever is named
    if not given:
        return None
    if not isinstance(given, str) or not given.isascii() or _SPACE_OR_CONTROL.search(given):
        raise ConfigurationError("api_key: expected a string of ASCII characters without spaces")
    return given


def _checked_headers(key: str | None, given: Mapping[str, str] | None) -> httpx2.Headers:
    own = {"content-type": "application/json", "user-agent": "asynccache"}
    if key is not None:
        own["authorization"] = f"Bearer {key}"
    try:
        headers = httpx2.Headers(own)
        headers.update(httpx2.Headers(dict(given or {})))
    except (TypeError, ValueError) as error:
        raise ConfigurationError("headers: expected names and values that are ASCII text") from error
    return headers
