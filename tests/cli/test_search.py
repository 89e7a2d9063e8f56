from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from asynccache import CachePipeline
from asynccache._clock import SystemClock
from asynccache._lifespan import entered
from asynccache._models import Alias, Entry
from asynccache._registry import open_backend
from asynccache.cli import _search, main
from asynccache.testing.embedder import FakeEmbedder
from asynccache.testing.entries import make_embedding, make_entry

ROOT = Path(__file__).resolve().parents[2]
URL = "sqlite:///answers.db"


async def model(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "id": "a",
        "object": "chat.completion",
        "created": 1,
        "model": "a-model",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
        ],
    }


def ask(*questions: str, embedder: FakeEmbedder | str, **scope: str) -> None:
    async def fill() -> None:
        options: dict[str, Any] = {"decision": "threshold", "threshold": 1.0, "embedder": embedder}
        async with CachePipeline(model, backend=URL, ttl=None, strict=True, **options) as cache:
            for question in questions:
                await cache.ask(question, model="m", scope=scope)

    anyio.run(fill)


async def put(*entries: Entry) -> None:
    backend = open_backend(URL)
    async with entered(backend):
        for entry in entries:
            await backend.put(entry)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeEmbedder:
    """An embedder without a model, in place of any other."""
    embedder = FakeEmbedder()
    monkeypatch.setattr(_search, "as_embedder", lambda _: embedder)
    return embedder


def search(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["search", "--backend", URL, "--json", *arguments]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.usefixtures("workplace")
def test_nearest_questions_of_all_tenants_come_best_first(
    fake: FakeEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("how do I pay a bill", "where is my card", embedder=fake, tenant="one")
    ask("how do I pay two bills", embedder=fake, tenant="two")
    found = search(capsys, "how do I pay a bill", "-k", "2")
    assert [each["question"] for each in found] == ["how do I pay a bill", "how do I pay two bills"]
    assert found[0]["cosine"] == pytest.approx(1.0)
    assert 0.3 < found[1]["cosine"] < 0.95
    assert found[0]["partition"] != found[1]["partition"]
    assert [each["model"] for each in found] == ["a-model", "a-model"]
    assert all(0 <= each["age_seconds"] < 60 and len(each["key"]) == 8 for each in found)


@pytest.mark.usefixtures("workplace")
def test_words_are_a_line_for_each_question(fake: FakeEmbedder, capsys: pytest.CaptureFixture[str]) -> None:
    ask("where is\nmy \x1b[31mcard", embedder=fake)
    assert main(["search", "where is my card", "--backend", URL]) == 0
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split() == ["cosine", "age", "model", "partition", "key", "question"]
    assert line.startswith("0.")
    assert " a-model " in line
    assert line.endswith("where is my  [31mcard")  # what a terminal would obey is not printed


@pytest.mark.usefixtures("workplace")
def test_bundled_model_finds_other_words_for_the_same_thing() -> None:
    ask("How do I reset my PIN?", "What is the exchange rate today?", embedder="default")
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "asynccache.cli",
            "search",
            "I forgot my PIN",
            "--backend",
            URL,
        ],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].endswith("How do I reset my PIN?")


def test_embedder_of_the_configuration_is_asked_unless_another_is_named(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named: list[str] = []
    fake = FakeEmbedder()

    def as_embedder(name: str) -> FakeEmbedder:
        named.append(name)
        return fake

    monkeypatch.setattr(_search, "as_embedder", as_embedder)
    ask("one", embedder=fake)
    for arguments in ([], ["--embedder", "given"]):
        search(capsys, "one", *arguments)
    (workplace / "asynccache.toml").write_text('embedder = "configured"')
    search(capsys, "one")
    assert named == ["default", "given", "configured"]


@pytest.mark.usefixtures("workplace")
def test_store_without_vectors_of_this_embedder_names_the_spaces_it_has(
    fake: FakeEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = make_entry(created_at=SystemClock().now())
    anyio.run(put, entry)
    assert main(["search", "one", "--backend", URL]) == 1
    assert "holds no question embedded by fake" in capsys.readouterr().err
    embedding = make_embedding()
    anyio.run(put, replace(entry, embedding=embedding))
    assert main(["search", "one", "--backend", URL]) == 1
    assert f"spaces it holds: {embedding.space.hex()[:8]}\n" in capsys.readouterr().err


@pytest.mark.usefixtures("workplace")
def test_expired_questions_are_not_shown_and_aliases_are_said_to_be_such(
    fake: FakeEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("one", embedder=fake)

    async def stored() -> Entry:
        backend = open_backend(URL)
        async with entered(backend):
            (only,) = [entry async for entry in backend.scan()]
            return only

    answer = anyio.run(stored)
    alias = replace(
        answer,
        key=b"a" * 32,
        alias=Alias(answer.key, 0.99, b"s" * 16),
        response=replace(answer.response, body=b""),
    )
    expired = replace(answer, key=b"\xff" * 32, created_at=answer.created_at - 100, ttl=1.0)
    anyio.run(put, alias, expired)
    found = search(capsys, "one", "-k", "2")  # all three are equally near
    assert sorted((each["alias"], each["model"]) for each in found) == [(False, "a-model"), (True, None)]
    assert main(["search", "one", "--backend", URL]) == 0
    assert "(alias)" in capsys.readouterr().out
    assert main(["stats", "--backend", URL]) == 0
    assert "2 vectors; 1 of the entries are aliases" in capsys.readouterr().out


@pytest.mark.usefixtures("workplace")
def test_model_that_is_not_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    ask("one", embedder=FakeEmbedder())
    assert main(["search", "one", "--backend", URL, "--embedder", "./nowhere"]) == 1
    printed = capsys.readouterr().err
    assert "nowhere" in printed
    assert printed.count("\n") == 1
