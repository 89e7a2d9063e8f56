"""Opening what may have nothing to open."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from asynccache._protocols import Backend, Managed

__all__ = ["opened"]


def opened(backend: Backend) -> AbstractAsyncContextManager[None]:
    """The backend's lifespan; nothing for one that has none."""
    return backend.lifespan() if isinstance(backend, Managed) else nullcontext()
