"""Requests that follow the proxy's own document, and many that follow nothing: all end in good order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.server._fuzzing import fuzz

pytestmark = pytest.mark.anyio


async def test_no_request_makes_the_proxy_fail_or_store_what_was_no_good_answer(proxying: Any) -> None:
    tally = await fuzz(200, seed=7, within=40.0)
    assert not tally.faults, tally.told()
    assert tally.cases == 200
    assert tally.hits >= 1
    assert tally.stored >= 20
    assert tally.replayed >= 20
    assert tally.statuses["4xx"] >= 50


async def test_no_request_makes_a_proxy_with_a_key_of_its_own_fail_or_tell_that_key(
    proxying: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('[keys]\na = ["one"]\nb = ["two"]\nc = ["k"]\n')
    monkeypatch.setenv("UPSTREAM_KEY", "theirs")
    tally = await fuzz(
        150, seed=8, within=40.0, key="theirs", keys=str(keys), upstream_key_env="UPSTREAM_KEY"
    )
    assert not tally.faults, tally.told()
    assert tally.cases == 150
    assert tally.stored >= 10
    assert tally.replayed >= 10
    assert tally.statuses["4xx"] >= 50
