"""Who may import a heavy library: the file made for it, when it is needed, and nobody else."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "asynccache"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Library to the files of the package, as patterns, that may import it.
HOMES = {
    "aiohttp": ("integrations/aiohttp.py",),
    "aiosqlite": ("backends/sqlite.py", "backends/_sqlite*.py"),
    "fastapi": ("integrations/fastapi.py",),
    "fastembed": ("decision/cross_encoder.py", "embedders/fastembed.py"),
    "hnswlib": ("index/hnsw*.py", "index/_hnsw*.py"),
    "httpx": ("integrations/httpx.py",),
    "httpx2": (
        "embedders/openai.py",
        "integrations/httpx2.py",
        "server/_proxy*.py",
        "upstreams/openai.py",
        "upstreams/_*.py",
    ),
    "langchain_core": ("integrations/langchain.py", "integrations/_langchain*.py"),
    "numpy": (
        "backends/_packed_vector.py",
        "cli/_index_verify.py",
        "cli/_vectors.py",
        "decision/*.py",
        "embedders/*.py",
        "index/*.py",
        "testing/embedder.py",
    ),
    "onnxruntime": ("embedders/*.py",),
    "openai": ("integrations/openai.py",),
    "opentelemetry": ("instrumentation/opentelemetry.py",),
    "prometheus_client": ("instrumentation/prometheus.py",),
    "pytest": ("testing/*.py",),
    "redis": ("backends/redis.py", "backends/_redis*.py"),
    "rich": ("cli/*.py",),
    "starlette": ("integrations/fastapi.py", "integrations/starlette.py", "server/*.py"),
    "usearch": ("index/usearch.py",),
    "uvicorn": ("server/*.py",),
    "uvloop": ("cli/*.py", "server/*.py"),
}


def runtime_imports(node: ast.AST) -> Iterator[str]:
    """Top-level names imported anywhere below, also by ``import_module``, except for type checkers only."""
    match node:
        case ast.Import(names=names):
            yield from (name.name.split(".")[0] for name in names)
        case ast.ImportFrom(module=str(module), level=0):
            yield module.split(".")[0]
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            for statement in node.orelse:
                yield from runtime_imports(statement)
            return
        case ast.Call(
            func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(module)), *_],
        ):
            yield module.split(".")[0]
        case _:
            pass
    for child in ast.iter_child_nodes(node):
        yield from runtime_imports(child)


def strangers(path: str, source: str) -> set[str]:
    """The heavy libraries that this file of the package, named relative to it, imports without leave."""
    found = set(runtime_imports(ast.parse(source)))
    return {
        name for name in found & HOMES.keys() if not any(fnmatch(path, pattern) for pattern in HOMES[name])
    }


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_heavy_library_is_imported_only_in_its_own_file(path: Path) -> None:
    assert strangers(path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("_pipeline.py", "import aiosqlite", {"aiosqlite"}),
        ("stages/lookup.py", "def f():\n    from redis.asyncio import Redis", {"redis"}),
        ("_registry.py", "import importlib\nimportlib.import_module('httpx2')", {"httpx2"}),
        ("backends/sqlite.py", "import redis", {"redis"}),
        ("stages/lookup.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import numpy", {"numpy"}),
        ("stages/lookup.py", "if TYPE_CHECKING:\n    import numpy", set()),
        ("backends/_sqlite_lane.py", "import aiosqlite", set()),
        ("backends/redis.py", "from redis.asyncio import Redis", set()),
    ],
)
def test_scanner_tells_strangers_from_residents(path: str, source: str, expected: set[str]) -> None:
    assert strangers(path, source) == expected


def printed_by(script: str) -> list[str]:
    """The lines of a script that a new interpreter runs."""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.splitlines()


def test_importing_the_package_loads_no_heavy_library() -> None:
    names = set(printed_by("import sys, asynccache; print(*sys.modules, sep='\\n')"))
    assert "asynccache" in names
    assert {name.partition(".")[0] for name in names} & HOMES.keys() == set()


SPOKEN = """
import sys
def spoken():
    room = "asynccache.dialects."
    inside = (name.removeprefix(room) for name in sys.modules if name.startswith(room))
    return " ".join(sorted(name for name in inside if not name.startswith("_")))
"""


def test_first_request_imports_its_own_dialect_and_no_other() -> None:
    script = """
import asyncio, asynccache
async def answer(body):
    return "yes"
async def main():
    async with asynccache.CachePipeline(answer, backend="memory://", decision=None, strict=True) as cache:
        await cache.ask("really?", model="m")
asyncio.run(main())
print(spoken())
"""
    assert printed_by(SPOKEN + script) == ["chat"]


def test_each_dialect_is_imported_when_it_is_first_asked_for() -> None:
    script = """
from asynccache import dialects
print(spoken())
for name in dialects.__all__:
    getattr(dialects, name)
    print(spoken())
"""
    assert printed_by(SPOKEN + script) == [
        "",
        "chat",
        "chat completions",
        "chat completions embeddings",
        "chat completions embeddings messages",
        "chat completions embeddings messages responses",
    ]
