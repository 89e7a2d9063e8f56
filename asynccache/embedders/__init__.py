"""Who turns questions into vectors: a model on this machine, a server, or any async function.

Whatever has a name and ``embed`` (the ``Embedder`` protocol) is an embedder.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from asynccache._errors import ConfigurationError
from asynccache._origin import origin_of

if TYPE_CHECKING:
    from asynccache._protocols import Embedder
    from asynccache.embedders.fastembed import FastEmbedEmbedder
    from asynccache.embedders.function import CallableEmbedder
    from asynccache.embedders.openai import UpstreamEmbedder

__all__ = ["CallableEmbedder", "FastEmbedEmbedder", "UpstreamEmbedder", "as_embedder"]

_HOMES: Final = {
    "CallableEmbedder": "asynccache.embedders.function",
    "FastEmbedEmbedder": "asynccache.embedders.fastembed",
    "UpstreamEmbedder": "asynccache.embedders.openai",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: an HTTP client is imported only by those who ask a server.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def as_embedder(given: object) -> Embedder:
    """Make an embedder of what a user names one by.

    Args:
        given: ``"default"``, the name of a model fastembed knows, or a folder with a model (see
            ``FastEmbedEmbedder``); an object with ``name``, ``dim`` and ``embed``; or an async function that
            takes texts and gives vectors. A plain function goes by its place in its file. A closure, a bound
            method or an object cannot be told from another that makes other vectors, so that what was stored
            with it is not found by its meaning again: ``CallableEmbedder(function, name=…)`` gives a name
            that lasts.

    Raises:
        ConfigurationError: it is none of these.
    """
    if isinstance(given, Path):
        from asynccache.embedders.fastembed import FastEmbedEmbedder

        return FastEmbedEmbedder(path=given)
    if isinstance(given, str):
        return _by_name(given)
    if not isinstance(given, type):
        if callable(getattr(given, "embed", None)):
            return cast("Embedder", _checked(given))
        from asynccache.embedders.function import CallableEmbedder, is_async_function

        if is_async_function(given):
            return CallableEmbedder(given, name=origin_of(given))
    raise ConfigurationError(
        "embedder: expected 'default', the name of a model, a folder, an async function that takes texts, "
        f"or an object with name, dim and embed; got {_described(given)}"
    )


def _by_name(given: str) -> Embedder:
    from asynccache.embedders.fastembed import FastEmbedEmbedder

    if "://" in given:
        raise ConfigurationError("embedder: for a server, give UpstreamEmbedder(base_url, model)")
    if given.startswith((".", "/", "~")):
        return FastEmbedEmbedder(path=Path(given).expanduser())
    return FastEmbedEmbedder(given)


def _checked(given: object) -> object:
    for name, kind in (("name", str), ("dim", int)):
        if not isinstance(getattr(given, name, None), kind):
            raise ConfigurationError(
                f"embedder: {type(given).__name__} has no {name} that is {kind.__name__}"
            )
    return given


def _described(given: object) -> str:
    if isinstance(given, type):
        return f"the class {given.__name__} (an instance of it may do)"
    return f"{type(given).__name__}" + (", which is not async (async def)" if callable(given) else "")
