"""Names for backends and dialects, and what they stand for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote

import platformdirs

from asynccache._errors import ConfigurationError
from asynccache._protocols import Backend
from asynccache._url import BackendURL

if TYPE_CHECKING:
    from asynccache._protocols import Dialect

__all__ = [
    "BackendFactory",
    "default_backend_url",
    "find_dialect",
    "known_backends",
    "known_dialects",
    "open_backend",
    "register_backend",
    "register_dialect",
]

BackendFactory: TypeAlias = "Callable[[BackendURL], Backend]"
"""Makes a backend of a URL, without opening it. Raises ConfigurationError."""

_ENTRY_POINTS: Final = "asynccache.backends"

# "module:attribute", loaded on first use: this file may not know the backends, and their drivers are
# for those who ask for them.
_BUILT_IN_BACKENDS: Final = {
    "memory": "asynccache.backends.memory:from_url",
    "redis": "asynccache.backends._redis_url:from_url",
    "redis+cluster": "asynccache.backends._redis_url:from_url",
    "redis+sentinel": "asynccache.backends._redis_url:from_url",
    "rediss": "asynccache.backends._redis_url:from_url",
    "rediss+cluster": "asynccache.backends._redis_url:from_url",
    "rediss+sentinel": "asynccache.backends._redis_url:from_url",
    "sqlite": "asynccache.backends._sqlite_url:from_url",
}
_BUILT_IN_DIALECTS: Final = {
    "chat.completions": "asynccache.dialects.chat:ChatCompletions",
    "completions": "asynccache.dialects.completions:Completions",
    "embeddings": "asynccache.dialects.embeddings:Embeddings",
    "messages": "asynccache.dialects.messages:Messages",
    "responses": "asynccache.dialects.responses:Responses",
}

# Process-wide; changed by the register_ functions, and by find_dialect for what it has loaded.
_backends: Final[dict[str, BackendFactory]] = {}
_dialects: Final[dict[str, Dialect]] = {}


def register_backend(scheme: str, factory: BackendFactory) -> None:
    """Make ``open_backend("<scheme>://…")`` call ``factory``; replaces what the scheme meant before.

    Raises:
        ConfigurationError: the scheme is not a lower-case URL scheme.
    """
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise ConfigurationError(f"not a lower-case URL scheme: {scheme!r}")
    _backends[scheme] = factory


def known_backends() -> tuple[str, ...]:
    """Every scheme ``open_backend`` takes, sorted: built in, registered, or of an installed package."""
    return tuple(sorted({*_BUILT_IN_BACKENDS, *_backends, *(point.name for point in _installed())}))


def open_backend(url: str) -> Backend:
    """Make the backend a URL stands for. Nothing is opened or created until its lifespan is entered.

    Third parties add schemes by ``register_backend``, or by an entry point named like the scheme in
    the group ``asynccache.backends``.

    Raises:
        ConfigurationError: not a URL, an unknown scheme, or options that cannot work.
    """
    parsed = BackendURL.parse(url)
    backend = _factory(parsed.scheme)(parsed)
    if not isinstance(backend, Backend):
        raise parsed.problem(f"its factory made a {type(backend).__name__}, which is not a Backend")
    return backend


def default_backend_url() -> str:
    """The URL of a SQLite file in the user's cache directory."""
    path = platformdirs.user_cache_path("asynccache", appauthor=False) / "cache.sqlite"
    return f"sqlite:///{quote(str(path))}"


def register_dialect(dialect: Dialect) -> None:
    """Make ``find_dialect(dialect.name)`` return ``dialect``; replaces an earlier one of that name."""
    _dialects[dialect.name] = dialect


def known_dialects() -> tuple[str, ...]:
    """Every name ``find_dialect`` takes, sorted."""
    return tuple(sorted({*_BUILT_IN_DIALECTS, *_dialects}))


def find_dialect(name: str) -> Dialect:
    """The dialect of that name; the same object at every call.

    Raises:
        ConfigurationError: there is none.
    """
    dialect = _dialects.get(name)
    if dialect is None:
        target = _BUILT_IN_DIALECTS.get(name)
        if target is None:
            raise _unknown("dialect", name, known_dialects())
        dialect = _dialects[name] = _load(target)()
    return dialect


def _factory(scheme: str) -> BackendFactory:
    factory = _backends.get(scheme)
    if factory is None and scheme in _BUILT_IN_BACKENDS:
        factory = _load(_BUILT_IN_BACKENDS[scheme])
    if factory is None:
        point = next((point for point in _installed() if point.name == scheme), None)
        if point is None:
            raise _unknown("backend scheme", scheme, known_backends())
        try:
            factory = point.load()
        except Exception as error:
            raise ConfigurationError(
                f"the backend {scheme!r} ({point.value}) cannot be loaded: {error}"
            ) from error
    return factory


def _installed() -> Iterable[EntryPoint]:
    return entry_points(group=_ENTRY_POINTS)


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def _unknown(what: str, name: str, known: Iterable[str]) -> ConfigurationError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return ConfigurationError(f"unknown {what} {name!r}; known: {', '.join(sorted(known))}{hint}")
