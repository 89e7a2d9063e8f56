"""The contract refuses backends whose numbers or marks are wrong in one thing each."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from tests.testing._broken_feeds import BROKEN_FEEDS, SEEN_BY_THE_MODEL, Shelf

pytest_plugins = ["pytester"]

CONTRACT_FILE = """
from asynccache.testing import BackendContract
from broken_feeds import Broken, examples

class TestBroken(BackendContract):
    examples = examples
    persistent = True

    def make_backend(self, tmp_path, clock):
        return Broken(tmp_path, clock)
"""


def failed_tests(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, broken: type[Shelf]) -> set[str]:
    """Names of the contract's tests that fail for a backend, on asyncio's own loop."""
    module = ModuleType("broken_feeds")
    # The first failure ends the search; where none is expected, a few histories do.
    module.examples = 1500 if broken in SEEN_BY_THE_MODEL else 5  # type: ignore[attr-defined]
    module.Broken = broken  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "broken_feeds", module)
    pytester.makepyfile(test_broken=CONTRACT_FILE)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # most of what is installed is for other suites
    plugins = ("-p", "anyio", "-p", "no:cacheprovider")
    result = pytester.inline_run("-q", "-k", "not uvloop", *plugins, "--tb=no")
    passed, _, failed = result.listoutcomes()
    assert len(passed) > 5, "the contract ran, and a backend broken in one thing keeps much of it"
    return {report.nodeid.rpartition("::")[2].partition("[")[0] for report in failed}


@pytest.mark.parametrize("broken", BROKEN_FEEDS, ids=lambda broken: broken.__name__)
def test_contract_refuses_a_feed_broken_in_one_thing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, broken: type[Shelf]
) -> None:
    failed = failed_tests(pytester, monkeypatch, broken)
    assert BROKEN_FEEDS[broken] in failed
    if broken in SEEN_BY_THE_MODEL:
        assert "test_any_history_gives_what_a_dictionary_would" in failed


def test_contract_accepts_the_feed_they_are_all_made_from(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert failed_tests(pytester, monkeypatch, Shelf) == set()
