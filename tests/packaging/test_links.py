"""The links at the root lead people to the two rooms they come to extend, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

rooms = pytest.mark.parametrize("room", ["stages", "backends"])


@rooms
def test_root_link_is_relative_and_resolves_into_the_package(room: str) -> None:
    link = ROOT / room
    assert link.is_symlink()
    assert link.readlink() == Path("asynccache") / room
    assert link.resolve(strict=True) == ROOT / "asynccache" / room


@rooms
def test_bare_import_of_a_root_link_is_refused_with_a_sentence(room: str) -> None:
    command = [sys.executable, "-c", f"import {room}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f"asynccache.{room}" in last


@rooms
def test_room_is_importable_under_its_full_name(room: str) -> None:
    command = [sys.executable, "-c", f"import asynccache.{room}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
