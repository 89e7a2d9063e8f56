"""What makes the demo's vectors, or why there are none."""

from __future__ import annotations

import argparse
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from asynccache._errors import EmbedderError
from asynccache._lifespan import entered
from asynccache.embedders import as_embedder

if TYPE_CHECKING:
    from asynccache._protocols import Embedder
    from asynccache.cli._demo_report import Report

__all__ = ["opened"]


@asynccontextmanager
async def opened(given: argparse.Namespace, report: Report) -> AsyncIterator[Embedder | None]:
    """The embedder, with its model in memory; None when there is to be no semantic tier, or can be none.

    A program's first question waits for the model if it comes too early. Here the model has its own line.
    """
    if given.no_semantic:
        report.exact_only("--no-semantic")
        yield None
        return
    embedder = as_embedder("default")
    async with entered(embedder):
        began = time.monotonic()
        ready = None
        try:
            # Whether the index lacks a package is told now, rather than request by request.
            from asynccache.index import BackendIndex  # noqa: F401

            with report.loading(embedder.name):
                await embedder.embed(["to have the model loaded"])
        except ImportError as error:
            report.exact_only(f'it needs {error.name}; pip install "asynccache[semantic]"')
        except EmbedderError as error:
            report.exact_only(str(error))
        else:
            report.semantic(embedder.name, time.monotonic() - began)
            ready = embedder
        yield ready
