"""No file of the repository tells about the machine it was written on or where packages came from."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The brackets keep this file from matching itself.
TELLTALE = re.compile(
    r"""
    (?<![\w.])/(work|root|home/\w+|Users/\w+|opt/[p]ypi|tmp/[b]riefs)/   # a path of somebody's machine
    | [p]ypi\.org | [p]ythonhosted\.org | [a]naconda\.org | [p]iwheels    # a package registry
    | --(extra-)?[i]ndex-url | --[f]ind-links | --[t]rusted-host
    """,
    re.VERBOSE,
)


def repository_files() -> list[Path]:
    """Text files git tracks or would track; links are left out, what they lead to is listed itself."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    text = (path for path in paths if path.suffix not in (".onnx", ".npy"))
    return [path for path in text if path.is_file() and not path.is_symlink()]


def test_no_file_names_a_machine_path_or_a_package_registry() -> None:
    files = repository_files()
    assert ROOT / "pyproject.toml" in files
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if (match := TELLTALE.search(line))
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        f"see /{'work'}/main/x",
        f"open('/{'root'}/.cache')",
        f"https://{'pypi'}.org/simple",
        f"pip install --{'index'}-url x",
    ],
)
def test_telltales_are_recognised(line: str) -> None:
    assert TELLTALE.search(line)
