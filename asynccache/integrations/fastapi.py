"""FastAPI: a pipeline that lives with the application, a dependency, and answers as responses."""

from __future__ import annotations

from typing import Annotated, TypeAlias

try:
    from fastapi import Depends
except ImportError as lacking:  # pragma: no cover
    raise ImportError(
        f'this integration needs {lacking.name}; pip install "asynccache[fastapi]"'
    ) from lacking

from asynccache._pipeline import CachePipeline
from asynccache.integrations.starlette import (
    CacheLike,
    answer_request,
    cache_lifespan,
    cache_response,
    current_cache,
    install_error_handlers,
)

__all__ = [
    "CacheDep",
    "CacheLike",
    "answer_request",
    "cache_lifespan",
    "cache_response",
    "current_cache",
    "install_error_handlers",
]

CacheDep: TypeAlias = Annotated[CachePipeline, Depends(current_cache)]
"""The application's pipeline, as a parameter of a route: ``async def ask(cache: CacheDep): ...``."""
