from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asynccache import __version__
from asynccache.cli import main
from asynccache.cli._output import duration, size
from asynccache.cli._tally import percentile

ROOT = Path(__file__).resolve().parents[2]
BRIEF = ["--requests", "40", "--latency", "0"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["stats", "--no-such-option"],
        ["--bckend", "x", "stats"],
        ["demo", "--requests", "0"],
        ["demo", "--requests", "many"],
        ["demo", "--concurrency", "257"],
        ["demo", "--latency", "-1"],
        ["demo", "--latency", "nan"],
        ["demo", "--upstream", "http://127.0.0.1:9/v1"],
        ["demo", "--model", "m"],
        ["demo", "--config", "x.toml"],
        ["get"],
        ["get", "question", "--body", "x.json"],
        ["get", "--body", "x.json", "--system", "s"],
        ["get", "question", "--param", "temperature"],
        ["get", "question", "--param", "reasoning_effort=low"],
        ["search"],
        ["search", "question", "-k", "0"],
    ],
)
def test_wrong_usage_exits_with_2_and_creates_nothing(
    workplace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err
    assert list(workplace.iterdir()) == []


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"asynccache {__version__}\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert all(
        f"\n    {name} " in printed for name in ("demo", "stats", "get", "search", "index", "replay", "clear")
    )


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("ASYNCCACHE_TTL", "soon", "ASYNCCACHE_TTL: expected 0 or more seconds"),
        (
            "ASYNCCACHE_BAKEND",
            "x",
            "unknown variable 'ASYNCCACHE_BAKEND'; did you mean 'ASYNCCACHE_BACKEND'?",
        ),
        ("ASYNCCACHE_CONFIG", "none.toml", "none.toml (ASYNCCACHE_CONFIG): cannot be read"),
    ],
)
def test_bad_environment_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    sentence: str,
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["stats"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"asynccache: {sentence}")
    assert printed.count("\n") == 1


def test_bad_file_is_one_sentence(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "asynccache.toml").write_text("ttl = ")
    assert main(["stats"]) == 1
    assert capsys.readouterr().err.startswith("asynccache: asynccache.toml: not a TOML file")


def test_unknown_backend_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--backend", "redsi://host"]) == 1
    assert capsys.readouterr().err.startswith("asynccache: unknown backend scheme 'redsi'; known: ")


def test_stats_needs_no_extra() -> None:
    script = (
        "import sys\nfor name in ('rich', 'starlette', 'uvicorn', 'redis', 'numpy', 'fastembed'):\n"
        "    sys.modules[name] = None\n"
        "from asynccache.cli import main\nsys.exit(main(['stats']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("asynccache: there is no store yet: ")


@pytest.mark.parametrize("arguments", [["demo", *BRIEF], ["stats", "--backend", "sqlite:///demo.sqlite"]])
def test_reader_that_leaves_early_gets_no_traceback(arguments: list[str]) -> None:
    assert main(["demo", *BRIEF]) == 0
    command = [sys.executable, "-m", "asynccache.cli", *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as run:
        assert run.stdout is not None
        run.stdout.close()
        assert run.stderr is not None
        assert run.stderr.read() == b""
    assert run.returncode == 1


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0000123, "12 µs"),
        (0.00123, "1.23 ms"),
        (0.0999, "99.9 ms"),
        (0.5, "500 ms"),
        (12.34, "12.3 s"),
        (599, "599 s"),
        (3600, "60 min"),
        (86400, "24 h"),
        (10 * 86400, "10 days"),
    ],
)
def test_duration_has_three_digits_and_a_unit(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 bytes"), (999, "999 bytes"), (1234, "1.23 kB"), (5 * 10**9, "5.00 GB")]
)
def test_size_has_three_digits_and_a_unit(count: int, told: str) -> None:
    assert size(count) == told


def test_percentile_is_a_value_that_was_seen() -> None:
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile([float(value) for value in range(1, 101)], 0.99) == 99.0
