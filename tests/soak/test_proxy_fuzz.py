"""Ten thousand requests to the proxy: none makes it fail, and none poisons its store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.server._fuzzing import fuzz

pytestmark = [pytest.mark.anyio, pytest.mark.soak, pytest.mark.timeout(900)]

CASES = int(os.environ.get("ASYNCCACHE_FUZZ_CASES", "10000"))
SEED = int(os.environ.get("ASYNCCACHE_FUZZ_SEED", "1"))


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """One loop is enough for so many; the short test runs on both."""
    return "asyncio", {"use_uvloop": True}


@pytest.mark.parametrize("keyed", [False, True], ids=["clients' keys", "own key"])
async def test_none_of_ten_thousand_requests_makes_the_proxy_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keyed: bool
) -> None:
    for name in list(os.environ):
        if name.startswith("ASYNCCACHE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {}
    if keyed:
        keys = tmp_path / "keys.toml"
        keys.write_text('[keys]\na = ["one"]\nb = ["two"]\nc = ["k"]\n')
        monkeypatch.setenv("UPSTREAM_KEY", "theirs")
        options = {"key": "theirs", "keys": str(keys), "upstream_key_env": "UPSTREAM_KEY"}
    number = CASES // 4 if keyed else CASES
    tally = await fuzz(number, seed=SEED, within=600.0, **options)
    print(tally)  # noqa: T201  (what a soak is for)
    assert not tally.faults, tally.told()
    assert tally.cases == number
