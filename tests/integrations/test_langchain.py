"""LangChain's own suites for caches, and its models with ours."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_tests.integration_tests.cache import AsyncCacheTestSuite, SyncCacheTestSuite

from asynccache._errors import BackendUnavailable
from asynccache._events import Event
from asynccache._models import Entry
from asynccache.instrumentation import structlog as logging
from asynccache.integrations.langchain import AsyncCacheLLM, LLMCacheStats
from tests.integrations._langchain_cases import TOOL_CALL, Watched, counting

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]

URLS = ["memory://", "sqlite:///{}/cache.db", "sqlite:///{}/cache.db?memory=0"]


@pytest.fixture(params=URLS, ids=["memory", "sqlite", "bare-sqlite"])
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.param).format(tmp_path)


class TestSyncSuite(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, any_url: str) -> AsyncCacheLLM:
        return AsyncCacheLLM(any_url)


class TestAsyncSuite(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self, any_url: str) -> AsyncCacheLLM:
        return AsyncCacheLLM(any_url)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/cache.db"


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    events: list[Event] = []
    monkeypatch.setattr(logging, "default_hook", events.append)
    return events


@pytest.fixture
def used() -> Iterator[None]:
    """Whatever cache a test has told LangChain to use is forgotten."""
    yield
    set_llm_cache(None)


@pytest.mark.usefixtures("used")
def test_chat_model_is_asked_once_by_invoke_and_ainvoke_alike(any_url: str) -> None:
    cache = AsyncCacheLLM(any_url)
    set_llm_cache(cache)
    model = counting()
    assert model.invoke("question").content == "answer 0"
    assert asyncio.run(model.ainvoke("question")).content == "answer 0"
    assert asyncio.run(model.ainvoke("question")).content == "answer 0"  # another event loop
    assert model.invoke("another").content == "answer 1"
    assert len(model.calls) == 2
    assert cache.stats() == LLMCacheStats(hits=2, misses=2, stored=2, refused=0, errors=0)
    assert cache.stats().hit_rate == pytest.approx(0.5)


@pytest.mark.usefixtures("used")
async def test_settings_of_a_model_keep_answers_apart() -> None:
    set_llm_cache(AsyncCacheLLM("memory://"))
    model = counting()
    assert (await model.ainvoke("question")).content == "answer 0"
    assert (await model.ainvoke("question", stop=["x"])).content == "answer 1"
    assert (await model.bind(temperature=1).ainvoke("question")).content == "answer 2"
    assert (await model.ainvoke("question")).content == "answer 0"


async def test_model_may_have_a_cache_of_its_own() -> None:
    model = counting(cache=AsyncCacheLLM("memory://"))
    assert (await model.ainvoke("question")).content == (await model.ainvoke("question")).content
    assert len(model.calls) == 1


async def test_copied_model_keeps_the_very_cache() -> None:
    cache = AsyncCacheLLM("memory://")
    model = counting(cache=cache)
    assert model.model_copy(deep=True).cache is model.model_copy().cache is cache


@pytest.mark.usefixtures("used")
async def test_tool_call_of_a_chat_model_comes_back_whole(url: str) -> None:
    cache = AsyncCacheLLM(url)
    set_llm_cache(cache)

    def answers() -> Iterator[AIMessage]:
        yield AIMessage("", tool_calls=[TOOL_CALL], response_metadata={"finish_reason": "tool_calls"})

    model = GenericFakeChatModel(messages=answers())
    first = await model.ainvoke("question")
    again = await model.ainvoke("question")
    assert isinstance(first, AIMessage)
    assert isinstance(again, AIMessage)
    assert again.tool_calls == first.tool_calls == [TOOL_CALL]
    assert cache.stats().hits == 1


@pytest.mark.usefixtures("used")
async def test_plain_language_model_is_asked_once() -> None:
    set_llm_cache(AsyncCacheLLM("memory://"))
    model = FakeListLLM(responses=["first", "second"])
    assert [await model.ainvoke("q"), model.invoke("q"), await model.ainvoke("q")] == ["first"] * 3


@pytest.mark.usefixtures("used")
async def test_fifty_calls_at_once_get_the_answers_to_their_own_questions(any_url: str) -> None:
    cache = AsyncCacheLLM(any_url)
    set_llm_cache(cache)
    model = counting()
    questions = [f"question {n % 10}" for n in range(50)]
    await asyncio.gather(*map(model.ainvoke, questions))
    calls = len(model.calls)
    held = {each: (await model.ainvoke(each)).content for each in questions}
    again = await asyncio.gather(*map(model.ainvoke, questions))
    assert [each.content for each in again] == [held[each] for each in questions]
    assert len(set(held.values())) == 10
    assert len(model.calls) == calls
    assert cache.stats().errors == 0


@pytest.mark.usefixtures("used")
def test_loops_and_threads_share_one_cache(url: str) -> None:
    cache = AsyncCacheLLM(url)
    set_llm_cache(cache)
    model = counting()
    for n in range(10):
        model.invoke(f"question {n}")

    async def many() -> list[Any]:
        return [
            each.content
            for each in await asyncio.gather(*(model.ainvoke(f"question {n}") for n in range(10)))
        ]

    with ThreadPoolExecutor(6) as pool:
        loops = [pool.submit(lambda: asyncio.run(many())) for _ in range(3)]
        threads = [pool.submit(model.invoke, f"question {n}") for n in range(10)]
        expected = [f"answer {n}" for n in range(10)]
        assert all(each.result() == expected for each in loops)
        assert [each.result().content for each in threads] == expected
    assert (len(model.calls), cache.stats().hits, cache.stats().errors) == (10, 40, 0)


@pytest.mark.usefixtures("used")
async def test_model_answers_while_the_store_is_down(reported: list[Event]) -> None:
    backend = Watched()
    backend.error = BackendUnavailable("down")
    set_llm_cache(AsyncCacheLLM(backend))
    model = counting()
    assert [(await model.ainvoke("question")).content for _ in range(2)] == ["answer 0", "answer 1"]
    assert len(reported) == 4


async def test_cancelled_look_up_leaves_the_cache_working() -> None:
    class Slow(Watched):
        looked = threading.Event()
        held = True

        async def get(self, key: bytes) -> Entry | None:
            self.looked.set()
            while self.held:  # noqa: ASYNC110  (set by another thread)
                await asyncio.sleep(0.001)
            return await super().get(key)

    cache = AsyncCacheLLM(backend := Slow())
    looking = asyncio.create_task(cache.alookup("prompt", "model"))
    await asyncio.to_thread(backend.looked.wait, 5)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    backend.held = False
    assert await cache.alookup("prompt", "model") is None
    assert cache.stats().errors == 0


def run(program: Path, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


BEGINNING = (
    "import asyncio, os, sys, threading, time\n"
    "from langchain_core.globals import set_llm_cache\n"
    "from langchain_core.language_models import FakeListChatModel\n"
    "from asynccache.integrations.langchain import AsyncCacheLLM\n"
    "cache = AsyncCacheLLM(sys.argv[1], strict=True)\n"
    "set_llm_cache(cache)\n"
    "model = FakeListChatModel(responses=['one', 'two'])\n"
)


def test_answer_is_found_again_after_a_restart(tmp_path: Path, url: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"{BEGINNING}"
        "print(asyncio.run(model.ainvoke('question')).content, model.invoke('question').content)\n"
        "print(cache.stats().hits)\n"
    )
    assert run(program, url) == ["one one", "1"]
    assert run(program, url) == ["one one", "2"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_child_opens_the_store_anew(tmp_path: Path, url: str) -> None:
    program = tmp_path / "forks.py"
    program.write_text(
        f"{BEGINNING}"
        "model.invoke('a')\n"
        "child = os.fork()\n"
        "if child:\n"
        "    _, status = os.waitpid(child, 0)\n"
        "    assert status == 0, status\n"
        "    assert model.invoke('b').content == 'two'\n"
        "    assert cache.stats().hits == 1\n"
        "else:\n"
        "    assert model.invoke('a').content == 'one'\n"
        "    assert model.invoke('b').content == 'two'\n"
        "    assert cache.stats().hits == 1\n"
    )
    assert run(program, url) == []


def test_program_ends_while_a_daemon_thread_is_calling(tmp_path: Path, url: str) -> None:
    program = tmp_path / "daemon.py"
    program.write_text(
        f"{BEGINNING.replace('strict=True', '')}"
        "def work():\n"
        "    for n in range(10**9):\n"
        "        model.invoke(str(n))\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "time.sleep(0.3)\n"
    )
    began = time.monotonic()
    assert run(program, url) == []
    assert time.monotonic() - began < 15


def test_without_langchain_the_import_says_what_to_install(tmp_path: Path) -> None:
    program = tmp_path / "lacking.py"
    program.write_text(
        "import sys\n"
        "sys.modules['langchain_core'] = None\n"
        "try:\n"
        "    import asynccache.integrations.langchain\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    (said,) = run(program)
    assert said.endswith('pip install "asynccache[langchain]"')


def test_example_prints_hits_and_misses(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "langchain_cache.py")],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "hits=2, misses=1" in done.stdout
