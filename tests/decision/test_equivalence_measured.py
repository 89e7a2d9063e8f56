"""What the judge says of itself, against the labelled pairs."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from asynccache.decision.equivalence import BuiltinJudge
from asynccache.embedders import FastEmbedEmbedder

TOOL = Path(__file__).resolve().parents[2] / "tools" / "measure_judge.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure_judge", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["measure_judge"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def anyio_backend() -> str:
    """One loop is enough for numbers."""
    return "asyncio"


def unseen(tool: ModuleType) -> list[Any]:
    return [row for row in tool.read_rows() if row.part != "tuning"]


def test_labelled_pairs_are_many_balanced_and_no_family_is_on_both_sides(tool: ModuleType) -> None:
    rows = tool.read_rows()
    assert len(rows) >= 400
    assert 0.45 <= sum(row.same for row in rows) / len(rows) <= 0.55
    assert len({row.pair for row in rows}) == len(rows)
    parts: dict[str, set[str]] = {}
    for row in rows:
        parts.setdefault(row.family, set()).add(row.part)
    assert all(len(found) == 1 for found in parts.values())
    assert min(Counter(row.part for row in rows).values()) >= 100


def test_bounds_are_clopper_pearsons(tool: ModuleType) -> None:
    assert tool.at_most(0, 10) == pytest.approx(1 - 0.05**0.1, abs=1e-6)
    assert tool.at_most(5, 100) == pytest.approx(0.1023, abs=1e-3)
    assert tool.at_most(3, 3) == pytest.approx(1.0)
    assert tool.at_least(10, 10) == pytest.approx(0.05**0.1, abs=1e-6)
    assert tool.at_least(5, 100) == pytest.approx(0.0199, abs=1e-3)
    assert tool.at_least(0, 3) == pytest.approx(0.0)


@pytest.mark.anyio
@pytest.mark.timeout(240)
async def test_shipped_rates_are_not_better_than_the_measured_ones(tool: ModuleType) -> None:
    embedder = FastEmbedEmbedder()
    async with embedder.lifespan():
        judge = BuiltinJudge(embedder)
        found = tool.rates(await tool.judged(unseen(tool), judge))
    assert 0 < judge.missed <= tool.at_least(found.missed, found.same)
    assert judge.accepted >= tool.at_most(found.accepted, found.different)
    assert found.undecided <= 0.30 * found.pairs


@pytest.mark.anyio
@pytest.mark.timeout(120)
async def test_shipped_rates_without_an_embedder_are_not_better_than_the_measured_ones(
    tool: ModuleType,
) -> None:
    judge = BuiltinJudge()
    found = tool.rates(await tool.judged(unseen(tool), judge))
    assert 0 < judge.missed <= tool.at_least(found.missed, found.same)
    assert judge.accepted >= tool.at_most(found.accepted, found.different)
    assert found.undecided <= 0.50 * found.pairs
