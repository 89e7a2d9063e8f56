"""The locks: exact versions, installable from any index, and light."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PIN = re.compile(r"[a-z0-9-]+==[0-9][A-Za-z0-9.+!]*")

# Gigabytes that a cache has no use for: training frameworks and their GPU libraries.
HEAVY = re.compile(r"(py)?torch|triton|tensorflow|jax|cupy|nvidia|cuda|cudnn|onnxruntime-gpu|fastembed-gpu")

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]

locks = pytest.mark.parametrize("lock", LOCKS, ids=[lock.stem for lock in LOCKS])


def lines(lock: Path) -> list[str]:
    text = lock.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def pins(lock: Path) -> dict[str, str]:
    """Canonical name to version."""
    return dict(line.split("==") for line in lines(lock))


def declared(group: str) -> Iterator[Requirement]:
    """Every requirement of the project, of one dependency group and of the extras that group takes."""
    waiting = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"][group]]
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.name == "asynccache":
            for extra in requirement.extras:
                waiting += EXTRAS[extra]
        else:
            yield requirement


def needs(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """What an installed distribution requires here, with these of its extras."""
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield requirement


def installed_closure() -> dict[str, str]:
    """Name to version of all that every extra pulls in, by the metadata of what is installed."""
    closure: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [need for need in declared("dev") if need.marker is None or need.marker.evaluate()]
    while waiting:
        need = waiting.pop()
        name, extras = canonicalize_name(need.name), frozenset(need.extras)
        if (name, extras) not in seen:
            seen.add((name, extras))
            closure[name] = metadata.version(name)
            waiting += needs(name, extras)
    return closure


@locks
def test_every_line_is_one_exact_version_and_nothing_else(lock: Path) -> None:
    found = lines(lock)
    assert [line for line in found if not PIN.fullmatch(line)] == []
    names = [line.split("==")[0] for line in found]
    assert names == sorted(set(names))


@locks
def test_lock_pins_all_that_the_project_declares_within_its_ranges(lock: Path) -> None:
    pinned = pins(lock)
    for requirement in declared(lock.stem):
        name = canonicalize_name(requirement.name)
        assert name in pinned
        assert requirement.specifier.contains(pinned[name]), f"{requirement} is locked at {pinned[name]}"


@locks
def test_lock_holds_no_training_framework_and_no_gpu_library(lock: Path) -> None:
    assert [name for name in pins(lock) if HEAVY.match(name)] == []


def test_installing_every_extra_pulls_in_nothing_heavy_and_nothing_unlocked() -> None:
    closure = installed_closure()
    assert {"anyio", "fastembed", "onnxruntime", "hiredis"} <= closure.keys()
    assert [name for name in closure if HEAVY.match(name)] == []
    locked = pins(ROOT / "requirements" / "dev.lock")
    assert {name: version for name, version in closure.items() if locked.get(name) != version} == {}


@pytest.mark.parametrize(
    "name", ["torch", "torchvision", "triton", "nvidia-cublas-cu12", "cuda-python", "jax"]
)
def test_heavy_names_are_recognised(name: str) -> None:
    assert HEAVY.match(name)


@pytest.mark.parametrize("name", ["tokenizers", "onnxruntime", "fastembed", "numpy", "tqdm"])
def test_light_names_are_not_taken_for_heavy_ones(name: str) -> None:
    assert not HEAVY.match(name)
