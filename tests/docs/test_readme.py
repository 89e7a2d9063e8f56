"""Every Python block of the README runs as it stands, and every example that comes to an end."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from asynccache.server.standin import StandIn

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """What is tested runs in another process, on a loop of its own."""
    return "asyncio"


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={"HOME": str(folder), "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block{number}" for number in range(len(BLOCKS))])
async def test_readme_block_runs(block: str, tmp_path: Path) -> None:
    import anyio.to_thread

    async with StandIn(latency=0.0) as server:
        code = block.replace("http://localhost:8000/v1", server.base_url)
        await anyio.to_thread.run_sync(run, code, tmp_path)


def test_the_readmes_first_block_does_what_its_comment_says(tmp_path: Path) -> None:
    assert run(BLOCKS[0], tmp_path).splitlines() == [
        "upstream You asked: What is a cache?",
        "exact You asked: What is a cache?",
    ]
    assert run(BLOCKS[0], tmp_path).startswith("exact ")


EXAMPLES = [path for path in sorted((ROOT / "examples").glob("*.py")) if not path.stem.endswith("_app")]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    assert re.search(r"\bexact\b|\bhits=[1-9]", run(example.read_text(), tmp_path))
