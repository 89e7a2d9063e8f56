"""Calls the package never makes, read from its syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "asynccache").rglob("*.py"))

# Modules that run code found in data, or load it from another process.
FORBIDDEN_MODULES = {
    "cloudpickle",
    "dill",
    "imp",
    "joblib",
    "jsonpickle",
    "marshal",
    "pickle",
    "shelve",
    "yaml",
}
FORBIDDEN_BUILTINS = {"__import__", "compile", "eval", "exec"}
# Tasks nobody waits for lose their errors: the nursery makes them, and awaits them. A call of a user's
# function that will not end when it is cancelled has to be left behind, with its error looked at. A pipeline
# that nobody may ever close is held open by a task that the end of its loop cancels.
TASK_MAKERS = {"create_task", "ensure_future"}
MAY_MAKE_TASKS = {
    "asynccache/_calls/flight.py",
    "asynccache/_lifespan.py",
    "asynccache/decision/verifier.py",
    "asynccache/embedders/_asking.py",
    "asynccache/integrations/_holding.py",
}
# Starts servers for tests, in fixtures that run outside the event loop.
MAY_SLEEP = {"asynccache/testing/_redis_ports.py"}


def imported(node: ast.AST) -> Iterator[str]:
    """Full dotted names an import statement binds, ``module.name`` for each name taken from a module."""
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{name.name}" for name in node.names)


def used(node: ast.AST) -> Iterator[str]:
    """Names an expression calls or reads that are worth a look."""
    match node:
        case ast.Call(func=ast.Name(id=called)) if called in FORBIDDEN_BUILTINS:
            yield called
        case ast.Attribute(value=ast.Name(id="time"), attr="sleep"):
            yield "time.sleep"
        case ast.Attribute(attr=made) if made in TASK_MAKERS:
            yield made
        case ast.keyword(arg="allow_pickle" | "shell", value=value) if not _is_false(value):
            yield f"{node.arg}="
        case _:
            pass


def _is_false(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def offences(tree: ast.AST) -> set[str]:
    """What a syntax tree imports or calls that it must not."""
    found: set[str] = set()
    for node in ast.walk(tree):
        found.update(used(node))
        for name in imported(node):
            if name.split(".")[0] in FORBIDDEN_MODULES or name == "time.sleep":
                found.add(name)
            elif name.split(".")[0] == "asyncio" and name.split(".")[-1] in TASK_MAKERS:
                found.add(name.split(".")[-1])
    return found


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_module_makes_no_forbidden_call(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    allowed = TASK_MAKERS if name in MAY_MAKE_TASKS else {"time.sleep"} if name in MAY_SLEEP else set()
    assert offences(ast.parse(path.read_text(encoding="utf-8"))) - allowed == set()


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import marshal as m",
        "from pickle import loads",
        "def f():\n    import yaml",
        "eval('1')",
        "exec('1')",
        "__import__('os')",
        "import time\ntime.sleep(1)",
        "from time import sleep",
        "import asyncio\nasyncio.create_task(f())",
        "from asyncio import ensure_future",
        "loop.create_task(f())",
        "numpy.load(path, allow_pickle=True)",
        "subprocess.run(line, shell=True)",
    ],
)
def test_scanner_sees_each_forbidden_call(source: str) -> None:
    assert len(offences(ast.parse(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import re\nre.compile('x')",
        "import asyncio\nasyncio.sleep(1)",
        "group.start_soon(f)",
        "clock.sleep(1)",
    ],
)
def test_scanner_passes_over_innocent_calls(source: str) -> None:
    assert offences(ast.parse(source)) == set()
