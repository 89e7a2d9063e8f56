from __future__ import annotations

import inspect
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from asynccache import CachePipeline
from asynccache.cli import _demo, main
from asynccache.cli._arguments import parse

ROOT = Path(__file__).resolve().parents[2]
# At this threshold many hits are wrong, so that a few requests have some of each.
LOOSE = ["demo", "--requests", "240", "--latency", "0.02", "--rate", "400", "--threshold", "0.6"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "asynccache.cli", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def row(printed: str, name: str) -> str:
    """What stands after a row's name."""
    (found,) = re.findall(rf"^\s*{re.escape(name)}\s+(.*?)\s*$", printed, re.MULTILINE)
    return str(found)


def requests(printed: str, source: str) -> int:
    """How many a row of the table counts."""
    (found,) = re.findall(rf"^\s*{re.escape(source)}\s+([\d,]+)\b", printed, re.MULTILINE)
    return int(found.replace(",", ""))


def test_near_questions_are_answered_and_the_wrong_answers_counted() -> None:
    runs = [
        subprocess.run(
            command(*LOOSE), check=False, capture_output=True, text=True, env=environment(), timeout=50
        )
        for _ in range(2)
    ]
    assert [(run.returncode, run.stderr) for run in runs] == [(0, ""), (0, "")]
    first, second = (run.stdout for run in runs)
    assert row(first, "first request").startswith("upstream, ")
    assert row(second, "first request").startswith("exact, from SQLite, ")
    assert row(second, "upstream calls").startswith("0 made")
    for text in (first, second):
        assert re.match(
            r"all-MiniLM-L6-v2, on this machine, loaded in [\d.]+ m?s\. .* from a cosine of 0\.6 on\.",
            row(text, "semantic"),
        )
        exact = requests(text, "exact, from memory") + requests(text, "exact, from SQLite")
        semantic = requests(text, "semantic, embedding included")
        others = requests(text, "shared with a request in flight") + requests(text, "upstream")
        assert exact + semantic + others == 240
        assert semantic > 20
        rates = re.match(r"([\d.]+)%: ([\d.]+)% exact, .* and ([\d.]+)% semantic, ", row(text, "hit rate"))
        assert rates is not None
        expected = [100 * count / 240 for count in (exact + semantic, exact, semantic)]
        assert [float(rate) for rate in rates.groups()] == pytest.approx(expected, abs=0.06)
        wrong = re.match(r"(\d+) of (\d+) semantic hits .* 95 % interval ", row(text, "wrong hits"))
        assert wrong is not None
        assert 0 < int(wrong[1]) < int(wrong[2]) == semantic
        for verdict in ("wrong", "right"):
            assert re.search(rf"^ {verdict} .* 0\.\d{{3}}\s*$", text, re.MULTILINE)


@pytest.mark.usefixtures("workplace")
def test_promise_is_what_decides_and_what_it_says_of_itself_stands_beside_the_labels(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*LOOSE[:-2], "--max-error", "0.5"]) == 0
    printed = capsys.readouterr().out
    told = " ".join(printed.split())
    assert "no more than 50% of such answers are wrong" in told
    assert "from a cosine of" not in told
    semantic = requests(printed, "semantic, embedding included")
    assert semantic > 0
    wrong = re.match(r"(\d+) of (\d+) semantic hits ", row(printed, "wrong hits"))
    assert wrong is not None
    assert int(wrong[1]) < semantic <= int(wrong[2])  # those shared in flight come besides
    assert "promises nothing" not in told
    account = row(printed, "its own account")
    assert re.match(r"[\d.]+% of the semantic hits were wrong, it estimates, 95 % interval ", account)
    labels = re.search(r" learnt from (\d+) comparisons ", account)
    assert labels is not None
    assert 0 < int(labels[1]) <= requests(printed, "upstream")
    assert re.search(r"serves from log odds of -?[\d.]+ on now\.", account)


def test_threshold_says_nothing_of_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(LOOSE) == 0
    printed = capsys.readouterr().out
    assert "its own account" not in printed
    assert "promises nothing" in printed


def test_default_is_the_products_own() -> None:
    given = parse(["demo"])
    default = inspect.signature(CachePipeline).parameters["max_error"].default
    assert (given.threshold, given.max_error) == (None, default)


@pytest.mark.usefixtures("workplace")
def test_hits_below_the_threshold_are_not_served(capsys: pytest.CaptureFixture[str]) -> None:
    strict = [*LOOSE[:-1], "1"]
    assert main(strict) == 0
    printed = capsys.readouterr().out
    assert requests(printed, "semantic, embedding included") == 0
    assert row(printed, "wrong hits") == "no semantic hit to judge"


@pytest.mark.parametrize("library", ["fastembed", "numpy"])
def test_without_the_semantic_packages_it_is_the_exact_demo_and_says_so(library: str) -> None:
    # A None in sys.modules makes an import fail as if nothing were installed.
    script = f"import sys; sys.modules[{library!r}] = None\nfrom asynccache.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, *LOOSE],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = row(done.stdout, "semantic")
    assert told.startswith("none, the exact tier only: ")
    assert library in told
    assert 'pip install "asynccache[semantic]"' in told
    assert "the exact tier only" in row(done.stdout, "hit rate")
    assert "wrong hits" not in done.stdout


def test_terminal_shows_that_the_model_is_being_loaded_and_counts_wrong_hits_on_the_way() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(command(*LOOSE), stdout=theirs, env={**environment(), "TERM": "xterm"}) as run:
        os.close(theirs)
        printed = b""
        while piece := _read(ours):
            printed += piece
    os.close(ours)
    assert run.returncode == 0
    text = printed.decode()
    assert "loading all-MiniLM-L6-v2" in text
    assert re.search(r"\d+ exact, \d+ semantic \([1-9]\d* wrong\)", text)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 2**16)
    except OSError:  # Linux: the other side has closed
        return b""


@pytest.mark.parametrize("arguments", [["--threshold", "1.1"], ["--threshold", "nan"], ["--threshold", "x"]])
def test_threshold_is_a_cosine(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", *arguments])
    assert ended.value.code == 2
    assert "a cosine from 0 to 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--no-semantic", "--threshold", "0.9"], "--threshold says nothing with --no-semantic"),
        (["--no-semantic", "--max-error", "0.1"], "--max-error says nothing with --no-semantic"),
        (["--threshold", "0.9", "--max-error", "0.1"], "either --max-error or --threshold"),
        (["--max-error", "0"], "above 0 and below 1"),
    ],
)
def test_settings_that_do_not_go_together_are_wrong_usage(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", *arguments])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_questions_of_somebody_else_are_not_judged(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(LOOSE) == 0
    monkeypatch.setattr(_demo, "questions", dict)  # as if none of them carried a label
    capsys.readouterr()
    assert main(LOOSE) == 0
    assert "on questions without a label" in row(capsys.readouterr().out, "wrong hits")
