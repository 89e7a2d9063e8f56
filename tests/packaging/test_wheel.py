"""What is published: the wheel, built from the source distribution, in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Builds and installs take longer than the 60 s of an ordinary test on a busy machine.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and its core dependencies only."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin" / "python"
    command = [str(interpreter), "-m", "pip", "install", "--disable-pip-version-check", "--retries", "1"]
    command += ["--constraint", str(ROOT / "requirements" / "dev.lock"), str(wheel)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0 and ("Retrying (" in done.stderr or "Could not fetch URL" in done.stderr):
        pytest.skip("no package registry can be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    return interpreter


def run(python: Path, *arguments: str) -> str:
    """Standard output of a command that must succeed, run far from the checkout."""
    command = [str(python), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=python.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_asynccache_is_the_only_top_level_name(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"asynccache"}
    assert len(tops) == 2


def test_wheel_holds_every_module_of_the_checkout(names: list[str]) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "asynccache").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}


def test_wheel_says_that_it_is_typed_and_how_it_is_licensed(names: list[str]) -> None:
    assert "asynccache/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_metadata_promises_what_the_project_file_says(wheel: Path, names: list[str]) -> None:
    (path,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    with zipfile.ZipFile(wheel) as archive:
        metadata = HeaderParser().parsestr(archive.read(path).decode())
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra", [])) == {
        "aiohttp",
        "all",
        "cli",
        "fastapi",
        "httpx",
        "langchain",
        "redis",
        "semantic",
        "server",
        "training",
        "usearch",
        "uvloop",
    }


def test_wheel_holds_the_weights_of_the_decision_and_their_notice(names: list[str]) -> None:
    folder = "asynccache/decision/weights"
    assert {f"{folder}/pairs.npz", f"{folder}/words.npz", f"{folder}/NOTICE.md"} <= set(names)


def test_wheel_holds_the_embedding_model_and_its_licence(names: list[str]) -> None:
    folder = "asynccache/embedders/models/all-MiniLM-L6-v2"
    assert {f"{folder}/model.onnx", f"{folder}/tokenizer.json", f"{folder}/LICENSE"} <= set(names)


def test_source_distribution_holds_the_tests_and_no_environment(dist: Path) -> None:
    (found,) = dist.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        tops = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert {"asynccache", "tests", "LICENSE", "README.md", "pyproject.toml"} <= tops
    assert not tops & {".venv", ".git", "stages", "backends"}


def test_package_imports_with_its_core_dependencies_alone(python: Path) -> None:
    rooms = "asynccache.stages, asynccache.backends, asynccache.dialects, asynccache.upstreams"
    script = f"import asynccache, {rooms}; print(asynccache.__file__, asynccache.__version__)"
    file, version = run(python, "-I", "-c", script).split()
    assert file.startswith(str(python.parent.parent))
    assert version


def test_installed_command_tells_the_version(python: Path) -> None:
    version = run(python, "-I", "-c", "import asynccache; print(asynccache.__version__)").strip()
    assert version in run(python.with_name("asynccache"), "--version")
