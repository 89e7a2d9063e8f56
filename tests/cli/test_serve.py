"""``asynccache serve`` as its users run it: processes, signals, and the line it prints."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from asynccache.cli import main
from asynccache.cli._arguments import parse
from asynccache.cli._serve import _options

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


class Running:
    """A server in a process of its own, and its first line."""

    def __init__(self, *command: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.stopper = threading.Timer(50, self.process.kill)
        self.stopper.start()
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline().strip()
        found = re.search(r"http://127\.0\.0\.1:\d+", self.line)
        self.url = "" if found is None else found[0]

    def ask(self, **options: Any) -> httpx2.Response:
        return httpx2.post(f"{self.url}/v1/chat/completions", json=BODY, timeout=20, **options)

    def end(self, number: int | None = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and standard error, after a signal or, with None, in its own time."""
        if number is not None and self.process.poll() is None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        self.stopper.cancel()
        return self.process.returncode, errors


@contextmanager
def running(*command: str, **environment: str) -> Iterator[Running]:
    server = Running(*command, **environment)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        server.stopper.cancel()
        for pipe in (server.process.stdout, server.process.stderr):
            if pipe is not None:
                pipe.close()


def workers_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@contextmanager
def standin(*options: str) -> Iterator[str]:
    with running("asynccache.server.standin", "--port", "0", *options) as server:
        yield f"{server.url}/v1"


@contextmanager
def serving(upstream: str, *options: str, **environment: str) -> Iterator[Running]:
    command = (
        "asynccache.cli",
        "serve",
        "--upstream",
        upstream,
        "--port",
        "0",
        "--decision",
        "none",
        *options,
    )
    with running(*command, **environment) as server:
        yield server


def test_one_line_tells_where_it_serves_and_sigterm_ends_it_with_0() -> None:
    with standin() as upstream, serving(upstream, "--backend", "memory://") as server:
        assert server.line == f"asynccache serves {server.url}/v1 → {upstream} (memory, 1 worker)"
        assert [server.ask().headers["cache-status"][:15] for _ in range(2)] == [
            "asynccache; fwd",
            "asynccache; hit",
        ]
        assert server.end() == (0, "")


def test_sigint_ends_it_with_0_too() -> None:
    with standin() as upstream, serving(upstream, "--backend", "memory://") as server:
        assert server.end(signal.SIGINT)[0] == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_running_request_ends_well_after_sigterm_while_new_ones_are_refused(
    workers: str, tmp_path: Path
) -> None:
    store = ("--backend", f"sqlite:///{tmp_path}/answers.db", "--workers", workers)
    with (
        standin("--latency", "2") as upstream,
        serving(upstream, *store) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(server.ask)
        time.sleep(0.7)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.9)
        ready = httpx2.get(f"{server.url}/readyz")
        refused = server.ask()
        assert ready.status_code == refused.status_code == 503
        assert refused.headers["connection"] == "close"
        assert asked.result().status_code == 200
        assert server.process.wait(20) == 0


def test_request_that_outlasts_the_grace_is_cut_and_the_end_is_0_all_the_same() -> None:
    with (
        standin("--latency", "30") as upstream,
        serving(upstream, "--backend", "memory://", "--grace", "0.3") as server,
        ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(server.ask)
        time.sleep(0.7)
        began = time.monotonic()
        assert server.end()[0] == 0
        assert time.monotonic() - began < 10
        assert asked.result().status_code == 503


@pytest.mark.skipif(sys.platform != "linux", reason="looks for its children in /proc")
def test_workers_share_one_store_and_one_that_dies_is_replaced(tmp_path: Path) -> None:
    store = ("--backend", f"sqlite:///{tmp_path}/answers.db", "--workers", "2")
    with standin() as upstream, serving(upstream, *store) as server:
        assert server.line.endswith("(sqlite, 2 workers)")
        served = [server.ask() for _ in range(20)]  # each on a connection of its own, so to either worker
        assert {answer.status_code for answer in served} == {200}
        asked = httpx2.get(f"{upstream.removesuffix('/v1')}/stats").json()["requests"]
        assert asked == 1
        before = workers_of(server.process.pid)
        os.kill(before[0], signal.SIGKILL)
        deadline = time.monotonic() + 20
        while len(set(workers_of(server.process.pid)) - {before[0]}) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(workers_of(server.process.pid)) == 2
        assert "hit" in server.ask().headers["cache-status"]
        assert server.end()[0] == 0


def test_key_comes_from_a_variable_and_is_in_no_argument_or_line(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('[keys]\nacme = ["key-a"]\n')
    options = ("--backend", "memory://", "--keys", str(keys), "--upstream-key-env", "MY_KEY")
    with (
        standin() as upstream,
        serving(upstream, *options, "--log", "requests", MY_KEY="the-secret") as server,
    ):
        refused = server.ask(headers={"authorization": "Bearer wrong"})
        served = server.ask(headers={"authorization": "Bearer key-a"})
        code, errors = server.end()
    assert (refused.status_code, served.status_code, code) == (401, 200, 0)
    assert '"event": "asynccache_request_served"' in errors
    assert not any(secret in errors for secret in ("the-secret", "key-a", "acme", "hi there"))


@pytest.mark.parametrize("workers", [1, 2])
def test_start_that_fails_ends_it_with_1(workers: int) -> None:
    script = f"""
import sys
from asynccache.server._proxy_options import ProxyOptions
from asynccache.server._proxy_run import run
from asynccache.server.proxy import ProxyApp

def broken():
    raise OSError("no room")

def made(options, ready):
    return ProxyApp(options, ready=broken if options.workers == 1 else ready)

options = ProxyOptions(
    upstream="http://x/v1", port=0, workers={workers}, pipeline=dict(backend="memory://", decision=None)
)
sys.exit(run(options, made, worker="asynccache.nowhere:application", announce=print))
"""
    command = [sys.executable, "-c", script]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
    assert (finished.returncode, finished.stdout) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--upstream"),
        (["--upstream", "ftp://x"], "expected http"),
        (["--upstream", "http://x/v1", "--keys", "none.toml"], "none.toml: cannot be read"),
        (["--upstream", "http://x/v1", "--upstream-key-env", "NONE"], "NONE"),
    ],
)
def test_options_that_cannot_work_end_it_with_1_and_a_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--decision", "none", "--backend", "memory://", *arguments]) == 1
    assert words in capsys.readouterr().err


def test_address_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = ["--upstream", "http://x/v1", "--backend", "memory://", "--decision", "none", "--port", port]
        assert main(["serve", *given]) == 1
    assert f"cannot listen at 127.0.0.1:{port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ["--port", "70000"],
        ["--workers", "0"],
        ["--workers", "65"],
        ["--ttl", "soon"],
        ["--grace", "-1"],
        ["--max-body", "0"],
        ["--max-error", "2"],
        ["--pass-through", "--refuse-unknown"],
    ],
)
def test_wrong_usage_exits_with_2(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", *wrong])
    assert ended.value.code == 2
    assert "serve" in capsys.readouterr().err


def test_arguments_become_options() -> None:
    told = (
        "serve --ttl none --decision none --namespace n --max-body 1MiB --refuse-unknown --backend memory://"
    )
    given = parse(told.split())
    options = _options(given)
    assert options.pipeline == {"ttl": None, "decision": None, "namespace": "n", "backend": "memory://"}
    assert (options.max_body, options.unknown, options.port) == (2**20, "refuse", 8080)
