from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import pytest

from asynccache._lifespan import entered
from asynccache._protocols import Backend
from asynccache._registry import open_backend
from asynccache.backends.tiered import Tiered
from asynccache.cli import _demo, main
from asynccache.cli._workload import questions, workload

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["demo", "--requests", "60", "--latency", "0.02", "--rate", "1000"]
EXACT = [*QUICK, "--no-semantic"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "asynccache.cli", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def row(printed: str, name: str) -> str:
    """What stands after a row's name."""
    (found,) = re.findall(rf"^\s*{re.escape(name)}\s+(.*?)\s*$", printed, re.MULTILINE)
    return str(found)


def test_second_run_starts_with_hits_and_never_asks_the_upstream(workplace: Path) -> None:
    runs = [
        subprocess.run(
            command(*EXACT), check=False, capture_output=True, text=True, env=environment(), timeout=50
        )
        for _ in range(2)
    ]
    assert [(run.returncode, run.stderr) for run in runs] == [(0, ""), (0, "")]
    first, second = (run.stdout for run in runs)
    distinct = len({ask.question for ask in workload(60)})
    assert row(first, "first request").startswith("upstream, ")
    assert (
        row(first, "upstream calls")
        == f"{distinct} made (by the server's own count), {60 - distinct} avoided"
    )
    assert "demo.sqlite, empty" in first
    assert "Run it again: it starts with hits from SQLite." in first
    assert row(second, "first request").startswith("exact, from SQLite, ")
    assert row(second, "upstream calls") == "0 made (by the server's own count), 60 avoided"
    assert f"already holds {distinct} entries" in second
    assert row(second, "hit rate").startswith("100.0%;")
    for text in (first, second):
        assert "not a language model" in text
        assert "CC BY 4.0" in text
        assert "drawn from a Zipf distribution (exponent 0.8) with seed 77" in re.sub(r"\s+", " ", text)
        assert row(text, "semantic") == "none, the exact tier only: --no-semantic"
        assert "wrong hits" not in text
        assert "\x1b" not in text


def test_first_run_counts_no_answer_of_its_own_as_read_from_sqlite(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*EXACT, "--concurrency", "32"]) == 0
    assert row(capsys.readouterr().out, "exact, from SQLite") == "0"


def test_rows_agree_with_the_counters_of_the_tiers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[Backend] = []

    def keeping(url: str) -> Backend:
        opened.append(open_backend(url))
        return opened[-1]

    monkeypatch.setattr(_demo, "open_backend", keeping)
    for _ in range(2):
        assert main([*EXACT, "--concurrency", "1"]) == 0
    second = capsys.readouterr().out.partition("Run it again")[2]
    backend = opened[1]
    assert isinstance(backend, Tiered)

    async def memory_hits() -> int:
        async with entered(backend):
            return (await backend.measure())["front_hits"]

    # Each is looked at twice: by the demo, which wants to know, and by the cache.
    from_memory = anyio.run(memory_hits) // 2
    assert row(second, "exact, from memory").split()[0] == str(from_memory)
    assert row(second, "exact, from SQLite").split()[0] == str(60 - from_memory)


def test_workload_is_the_same_each_time_and_repeats_popular_questions() -> None:
    asks = workload(400)
    assert asks == workload(400)
    assert asks[:60] == workload(60)
    counts = Counter(ask.question for ask in asks)
    assert set(counts) <= set(questions())
    assert counts.most_common(1)[0][1] > 400 / 672 * 10
    assert sum(ask.streamed for ask in asks) == 100


def test_workload_asks_the_same_thing_in_other_words() -> None:
    known = questions()
    assert len(known) == 672
    assert set(Counter(known.values()).values()) == {16}
    by_intent = Counter(known[question] for question in {ask.question for ask in workload(1200)})
    assert len(by_intent) == 42
    assert min(by_intent.values()) > 1
    folder = Path(_demo.__file__).parent / "data"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 45_000


def test_memory_store_promises_nothing_for_a_second_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*EXACT, "--backend", "memory://"]) == 0
    printed = capsys.readouterr().out
    assert "ends with its process" in printed
    assert "Run it again" not in printed


def test_run_without_a_hit_fails_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--requests", "1", "--latency", "0", "--no-semantic"]) == 1
    assert "nothing was a hit" in capsys.readouterr().err


def test_proxy_of_the_environment_is_not_asked_for_the_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert main(EXACT) == 0
    assert "no_proxy" not in os.environ


@contextmanager
def server(status: int, seen: list[str | None]) -> Iterator[str]:
    """An upstream that refuses everybody."""

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            seen.append(self.headers["authorization"])
            self.send_response(status)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name it has there)
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as listening:
        thread = Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}/v1"
        finally:
            listening.shutdown()
            thread.join()


def test_upstream_that_refuses_fails_the_demo_at_its_first_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    seen: list[str | None] = []
    with server(401, seen) as url:
        arguments = ["--upstream", url, "--model", "m", "--api-key-env", "MY_KEY", "--no-semantic"]
        assert main(["demo", *arguments]) == 1
    assert seen == ["Bearer sk-secret"]
    printed = capsys.readouterr()
    assert printed.err.startswith("asynccache: a request failed: ")
    assert "not a language model" not in printed.out
    assert "sk-secret" not in printed.out + printed.err


def test_missing_api_key_is_named_by_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["demo", "--upstream", "http://127.0.0.1:9/v1", "--model", "m", "--api-key-env", "NO_SUCH"]
    assert main(arguments) == 1
    assert "'NO_SUCH' is not set" in capsys.readouterr().err


def test_store_that_cannot_be_opened_fails_the_demo_in_one_sentence(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "demo.sqlite").mkdir()
    assert main(QUICK) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_file_that_is_no_database_is_left_alone(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = workplace / "demo.sqlite"
    notes.write_text("my notes, not a database at all")
    assert main(QUICK) == 1
    assert "not a SQLite database" in capsys.readouterr().err
    assert [path.name for path in workplace.iterdir()] == ["demo.sqlite"]
    assert notes.read_text().startswith("my notes")


@pytest.mark.parametrize(
    ("library", "arguments", "extras"),
    [
        ("rich", [], "cli,server"),
        ("uvicorn", [], "cli,server"),
        ("rich", ["--upstream", "http://127.0.0.1:9/v1", "--model", "m"], "cli"),
    ],
)
def test_missing_extra_is_named_with_the_line_that_installs_it(
    library: str, arguments: list[str], extras: str
) -> None:
    # A None in sys.modules makes an import fail as if nothing were installed.
    script = f"import sys; sys.modules[{library!r}] = None\nfrom asynccache.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "demo", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 1
    assert done.stderr == f'asynccache: the demo needs {library}; pip install "asynccache[{extras}]"\n'


def test_terminal_is_shown_a_progress_bar() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(command(*QUICK), stdout=theirs, env={**environment(), "TERM": "xterm"}) as run:
        os.close(theirs)
        printed = b""
        while piece := _read(ours):
            printed += piece
    os.close(ours)
    assert run.returncode == 0
    assert "60/60" in printed.decode()
    assert b"\x1b[?25h" in printed  # the cursor is back


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 2**16)
    except OSError:  # Linux: the other side has closed
        return b""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_interrupt_ends_the_demo_without_a_traceback(workplace: Path) -> None:
    arguments = command("demo", "--latency", "0.5")
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as run:
        deadline = time.monotonic() + 30
        while not (workplace / "demo.sqlite").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.0)  # into the concurrent part
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=20)
    assert (run.returncode, errors) == (130, "asynccache: interrupted\n")
