"""Who makes the answers: an OpenAI-compatible server, any async callable, or an object of yours.

Whatever has ``fetch`` and ``stream`` (the ``Upstream`` protocol) is an upstream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from asynccache._errors import ConfigurationError
from asynccache.upstreams.function import CallableUpstream, is_async_callable
from asynccache.upstreams.prefix_router import PrefixRouter, prefix_key

if TYPE_CHECKING:
    from asynccache._protocols import Upstream
    from asynccache.upstreams.openai import OpenAIUpstream
    from asynccache.upstreams.vllm import VLLMUpstream

__all__ = [
    "CallableUpstream",
    "OpenAIUpstream",
    "PrefixRouter",
    "VLLMUpstream",
    "as_upstream",
    "prefix_key",
]


def __getattr__(name: str) -> object:
    # The HTTP client costs as much to import as everything else together; not everyone needs it.
    if name == "OpenAIUpstream":
        from asynccache.upstreams.openai import OpenAIUpstream

        return OpenAIUpstream
    if name == "VLLMUpstream":
        from asynccache.upstreams.vllm import VLLMUpstream

        return VLLMUpstream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def as_upstream(given: object, **options: Any) -> Upstream:
    """Make an upstream of what a user names one by.

    Args:
        given: a base URL such as ``"http://127.0.0.1:8000/v1"``, an object with ``fetch`` and ``stream``,
            or an async callable (see ``CallableUpstream``).
        options: for a URL, those of ``OpenAIUpstream``.

    Raises:
        ConfigurationError: it is none of these, or an option does not fit it.
    """
    if isinstance(given, str):
        from asynccache.upstreams.openai import OpenAIUpstream

        try:
            return OpenAIUpstream(given, **options)
        except TypeError as error:
            raise ConfigurationError(f"upstream: {error}") from error
    if options:
        raise ConfigurationError(f"upstream: {', '.join(options)} can be given with a URL only")
    if not isinstance(given, type):
        if callable(getattr(given, "fetch", None)) and callable(getattr(given, "stream", None)):
            return cast("Upstream", given)
        if is_async_callable(given):
            return CallableUpstream(given)
    raise ConfigurationError(
        "upstream: expected a URL, an async callable that takes the request body, "
        f"or an object with fetch and stream; got {_described(given)}"
    )


def _described(given: object) -> str:
    if isinstance(given, type):
        return f"the class {given.__name__} (an instance of it may do)"
    return f"{type(given).__name__}" + (", which is not async (async def)" if callable(given) else "")
