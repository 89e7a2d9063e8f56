from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from asynccache import CachePipeline
from asynccache.cli import main
from asynccache.server.standin import StandIn

ROOT = Path(__file__).resolve().parents[2]
URL = "sqlite:///answers.db"


async def model(body: Mapping[str, Any]) -> Mapping[str, Any]:
    asked = body["messages"][-1]["content"]
    return {
        "id": "a",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": f"you asked: {asked}"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }


@pytest.fixture
def store(workplace: Path) -> Path:
    """Three answers: plain, with a system message and a parameter for a tenant, and tagged."""

    async def fill() -> None:
        async with CachePipeline(model, backend=URL, ttl=None) as cache:
            await cache.ask("one?", model="m")
            await cache.ask("two?", model="m", system="be short", temperature=0, scope={"tenant": "acme"})
            await cache.ask("three?", model="m", control={"tags": ["prices"]})

    anyio.run(fill)
    return workplace / "answers.db"


def get(*arguments: str) -> int:
    return main(["get", "--backend", URL, *arguments])


def test_stats_tells_what_the_store_holds(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--backend", URL]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["store"] == str(store)
    assert rows["entries"] == "3"
    assert rows["dialects"] == "chat.completions 3"
    assert rows["tags"] == "prices 1"


def test_stats_as_json_is_one_document(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--backend", URL, "stats", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["entries"] == 3
    assert figures["tokens"] == 21
    assert 0 <= figures["newest_seconds"] <= figures["oldest_seconds"] < 60
    assert figures["bytes"] > 0
    assert figures["file_bytes"] >= store.stat().st_size


def test_stats_of_an_emptied_store_has_no_ages(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clear", "--yes", "--backend", URL]) == 0
    capsys.readouterr()
    assert main(["stats", "--backend", URL]) == 0
    assert "oldest" not in capsys.readouterr().out
    assert main(["stats", "--backend", URL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["oldest_seconds"] is None


@pytest.mark.parametrize(
    "command", [["stats"], ["clear", "--yes"], ["get", "one?"], ["search", "one?"], ["index", "status"]]
)
def test_looking_into_a_store_that_does_not_exist_creates_none(
    workplace: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert main([*command, "--backend", URL]) == 1
    assert capsys.readouterr().err.startswith("asynccache: there is no store yet: ")
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize(
    "command", [["stats"], ["clear", "--yes"], ["get", "one?"], ["search", "one?"], ["index", "status"]]
)
def test_file_that_is_no_database_is_left_alone(
    workplace: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    (workplace / "answers.db").write_text("somebody's notes, long enough to be more than a mark")
    assert main([*command, "--backend", URL]) == 1
    assert "is not a SQLite database" in capsys.readouterr().err
    assert [path.name for path in workplace.iterdir()] == ["answers.db"]


def test_memory_store_cannot_be_seen_from_outside(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--backend", "memory://"]) == 1
    assert "inside the program" in capsys.readouterr().err


@pytest.mark.usefixtures("store")
def test_get_prints_the_answer_with_its_source_age_and_savings(capsys: pytest.CaptureFixture[str]) -> None:
    assert get("one?", "--model", "m") == 0
    head, _, answer = capsys.readouterr().out.partition("\n\n")
    assert answer == "you asked: one?\n"
    assert [line.split()[0] for line in head.splitlines()] == ["source", "age", "saved"]
    assert "exact" in head
    assert "7 tokens" in head


@pytest.mark.usefixtures("store")
def test_get_finds_only_the_very_request(capsys: pytest.CaptureFixture[str]) -> None:
    very = ["two?", "--model", "m", "--system", "be short", "--param", "temperature=0", "--tenant", "acme"]
    assert get(*very, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["source"] == "exact"
    assert found["saved"]["tokens"] == 7
    assert found["answer"]["choices"][0]["message"]["content"] == "you asked: two?"
    for other in (
        very[:-2],
        [*very, "--user", "u"],
        [*very, "--namespace", "n"],
        [*very, "--param", "seed=1"],
    ):
        assert get(*other) == 1
    assert capsys.readouterr().err.count("asynccache: not cached: ") == 4


@pytest.mark.usefixtures("store")
def test_get_takes_a_whole_request_from_a_file_or_standard_input(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "one?"}], "stream": True}
    (workplace / "body.json").write_text(json.dumps(body))
    assert get("--body", "body.json") == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(body).encode())))
    assert get("--body", "-") == 0
    assert capsys.readouterr().out.count("you asked: one?") == 2


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("text", "sentence"),
    [("{", "not a JSON document"), ("[]", "body: expected a JSON object"), ("{}", "messages")],
)
def test_get_refuses_a_body_that_is_no_request(
    workplace: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    (workplace / "body.json").write_text(text)
    assert get("--body", "body.json") == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.usefixtures("store")
def test_missing_body_file_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert get("--body", "none.json") == 1
    assert capsys.readouterr().err == "asynccache: none.json: No such file or directory\n"


@pytest.mark.usefixtures("store")
def test_get_finds_the_very_request_though_a_semantic_decision_is_configured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASYNCCACHE_DECISION", "threshold")
    monkeypatch.setenv("ASYNCCACHE_EMBEDDER", "no-such-model")  # nothing is embedded, so nobody notices
    assert get("one?", "--model", "m") == 0
    assert get("one ?", "--model", "m") == 1
    assert capsys.readouterr().err.startswith("asynccache: not cached: ")


def test_get_in_the_default_store_follows_the_configured_upstream(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fill() -> str:
        async with StandIn(latency=0.0) as server, CachePipeline(server.base_url) as cache:
            await cache.ask("one?", model="m")
            return server.base_url

    upstream = anyio.run(fill)
    assert main(["get", "one?", "--model", "m"]) == 1
    assert "set ASYNCCACHE_UPSTREAM" in capsys.readouterr().err
    monkeypatch.setenv("ASYNCCACHE_UPSTREAM", upstream)
    assert main(["get", "one?", "--model", "m"]) == 0
    monkeypatch.delenv("ASYNCCACHE_UPSTREAM")
    (workplace / "asynccache.toml").write_text(f'upstream = "{upstream}/"\ndefault_model = "m"')
    assert main(["get", "one?"]) == 0


@pytest.mark.usefixtures("store")
def test_backend_may_be_configured(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "mine.toml").write_text(f'backend = "{URL}"')
    assert main(["stats", "--config", "mine.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 3
    monkeypatch.setenv("ASYNCCACHE_BACKEND", URL)
    assert main(["stats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 3


@pytest.mark.usefixtures("store")
def test_clear_by_tag_leaves_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clear", "--tag", "prices", "--tag", "none", "--yes", "--backend", URL]) == 0
    assert "removed 1 entry from" in capsys.readouterr().out
    assert get("one?", "--model", "m") == 0
    assert get("three?", "--model", "m") == 1


@pytest.mark.usefixtures("store")
def test_clear_without_a_terminal_refuses_unless_told_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["clear", "--backend", URL]) == 2
    assert "--yes" in capsys.readouterr().err
    assert main(["clear", "--yes", "--backend", URL]) == 0
    assert "removed 3 entries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "code", "entries"), [(b"n\n", 1, 3), (b"\n", 1, 3), (b"\x04", 1, 3), (b"y\n", 0, 0)]
)
@pytest.mark.usefixtures("store")
def test_clear_asks_first_on_a_terminal(
    capsys: pytest.CaptureFixture[str], typed: bytes, code: int, entries: int
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "asynccache.cli", "clear", "--backend", URL]
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as run:
        os.write(ours, typed)
        printed, _ = run.communicate(timeout=30)
    os.close(ours)
    os.close(theirs)
    assert run.returncode == code
    assert "Remove every entry from" in printed
    assert main(["stats", "--json", "--backend", URL]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == entries


def test_expired_answers_are_neither_counted_nor_printed(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fill() -> None:
        async with CachePipeline(model, backend=URL, ttl=0.05) as cache:
            await cache.ask("one?", model="m")

    anyio.run(fill)
    time.sleep(0.1)  # another process's clock cannot be turned
    assert main(["stats", "--json", "--backend", URL]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 0
    assert get("one?", "--model", "m") == 1
