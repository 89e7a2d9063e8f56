"""Which results of LangChain's models are stored, and that they come back as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ChatMessage
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import BaseModel

from asynccache._events import EntryRefused, Event, StageFailed
from asynccache.instrumentation import structlog as logging
from asynccache.integrations.langchain import AsyncCacheLLM
from tests.integrations._langchain_cases import TOOL_CALL, Watched, said

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/cache.db"


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    events: list[Event] = []
    monkeypatch.setattr(logging, "default_hook", events.append)
    return events


@pytest.mark.parametrize(
    "generation",
    [
        Generation(text="plain", generation_info={"finish_reason": "stop", "logprobs": [-0.5, None]}),
        said("ü 😀 \x00"),
        said("", tool_calls=[TOOL_CALL]),
        said(
            "counted",
            id="run-1",
            name="model",
            usage_metadata={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
            response_metadata={"finish_reason": "stop", "model_name": "m", "lc": 1},
            additional_kwargs={
                "reasoning_content": "hm",
                "nested": {"lc": 1, "type": "secret", "id": ["HOME"]},
            },
        ),
        ChatGeneration(message=AIMessage([{"type": "text", "text": "a"}, {"type": "image", "url": "u"}])),
        ChatGeneration(
            message=ChatMessage(content="hello", role="critic"), generation_info={"finish_reason": "STOP"}
        ),
    ],
    ids=["plain", "text", "tool-call", "metadata", "blocks", "role"],
)
async def test_result_comes_back_equal(url: str, generation: Generation) -> None:
    cache = AsyncCacheLLM(url)
    await cache.aupdate("prompt", "model", [generation])
    held = await AsyncCacheLLM(url).alookup("prompt", "model")
    assert held == [generation]
    assert isinstance(held, list)  # LangChain takes nothing else
    assert held == cache.lookup("prompt", "model")


async def test_caller_may_change_what_it_was_given() -> None:
    cache = AsyncCacheLLM("memory://")
    await cache.aupdate("prompt", "model", [said("same")])
    held = await cache.alookup("prompt", "model")
    assert held is not None
    held[0].text = "changed"
    held.clear()
    assert await cache.alookup("prompt", "model") == [said("same")]


async def test_model_parsed_out_of_an_answer_comes_back_as_a_dict() -> None:
    class Parsed(BaseModel):
        x: int

    cache = AsyncCacheLLM("memory://")
    await cache.aupdate("prompt", "model", [said("{}", additional_kwargs={"parsed": Parsed(x=1)})])
    (held,) = await cache.alookup("prompt", "model") or []
    assert isinstance(held, ChatGeneration)
    assert held.message.additional_kwargs == {"parsed": {"x": 1}}


class OwnMessage(AIMessage):
    """A message whose class only its author knows."""


@pytest.mark.parametrize(
    "generation",
    [
        said("a", response_metadata={"at": object()}),
        said("a", response_metadata={"by number": {1: "one"}}),
        said("a", response_metadata={"logprob": float("nan")}),
        said("lone \ud800"),
        ChatGeneration(message=OwnMessage(content="a")),
        ChatGeneration(message=type("AIMessage", (AIMessage,), {})(content="a")),
    ],
    ids=["object", "key", "nan", "surrogate", "class", "namesake"],
)
async def test_result_that_would_not_come_back_is_not_stored_and_reported_once(
    reported: list[Event], generation: Generation
) -> None:
    cache = AsyncCacheLLM(backend := Watched())
    for _ in range(2):
        await cache.aupdate("prompt", "model", [generation])
    assert await backend.entries() == []
    assert (cache.stats().refused, cache.stats().errors) == (2, 0)
    (event,) = reported
    assert isinstance(event, StageFailed)
    assert "would not come back" in str(event.error)


async def test_prompts_that_no_json_can_carry_are_told_apart() -> None:
    cache = AsyncCacheLLM("memory://")
    prompts = ["\ud83d\ude00", "😀", "\ud83d", "\ud83e", "?", ""]
    for prompt in prompts:
        await cache.aupdate(prompt, "model", [Generation(text=ascii(prompt))])
    assert [await cache.alookup(prompt, "model") for prompt in prompts] == [
        [Generation(text=ascii(prompt))] for prompt in prompts
    ]


async def test_prompt_and_model_are_never_joined() -> None:
    cache = AsyncCacheLLM("memory://")
    await cache.aupdate("ab", "c", [said("1")])
    assert await cache.alookup("a", "bc") is None
    assert await cache.alookup("c", "ab") is None


async def test_large_prompt_and_answer_come_back(url: str) -> None:
    cache = AsyncCacheLLM(url)
    await cache.aupdate("p" * 200_000, "model", [said("a" * 200_000)])
    assert await cache.alookup("p" * 200_000, "model") == [said("a" * 200_000)]


@pytest.mark.parametrize(
    "generation",
    [
        Generation(text="cut", generation_info={"finish_reason": "length"}),
        said("cut", response_metadata={"finish_reason": "length"}),
        ChatGeneration(message=AIMessage("cut"), generation_info={"finish_reason": "content_filter"}),
        said("cut", response_metadata={"finish_reason": None}),
        said("cut", response_metadata={"finish_reason": "MAX_TOKENS"}),
        said("cut", response_metadata={"stop_reason": "max_tokens"}),
        said("no", response_metadata={"stop_reason": "refusal"}),
        said("cut", response_metadata={"stopReason": "guardrail_intervened"}),
        said("cut", response_metadata={"done_reason": "length", "done": True}),
        said("cut", response_metadata={"done": False}),
        said("cut", response_metadata={"status": "incomplete"}),
        said("cut", response_metadata={"finish_reason": 3}),
        said("cut", response_metadata={"error": {"message": "overloaded"}}),
        said("", additional_kwargs={"refusal": "I cannot"}),
        ChatGeneration(message=AIMessage([{"type": "refusal", "refusal": "I cannot"}])),
        said(""),
        said(" \n"),
        Generation(text=""),
        ChatGeneration(
            message=AIMessage([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": ""}])
        ),
        said("calling", invalid_tool_calls=[{"name": "f", "args": "{", "id": "1", "error": "no JSON"}]),
    ],
)
async def test_incomplete_or_empty_result_is_not_stored(
    reported: list[Event], generation: Generation
) -> None:
    cache = AsyncCacheLLM(backend := Watched(), strict=True)
    await cache.aupdate("prompt", "model", [said("whole"), generation])
    cache.update("prompt", "model", [generation])
    assert await backend.entries() == []
    assert cache.stats().refused == 2
    assert all(isinstance(event, EntryRefused) for event in reported)


async def test_no_generations_are_not_stored(reported: list[Event]) -> None:
    cache = AsyncCacheLLM("memory://")
    await cache.aupdate("prompt", "model", [])
    assert await cache.alookup("prompt", "model") is None
    assert reported == [EntryRefused("there are no generations")]


@pytest.mark.parametrize(
    "metadata",
    [
        {"finish_reason": "stop", "stop_reason": "###"},
        {"finish_reason": "tool_calls"},
        {"finish_reason": None, "stop_reason": "end_turn"},
        {"stop_reason": "end_turn", "stop_sequence": None},
        {"stopReason": "tool_use"},
        {"done_reason": "stop", "done": True},
        {"status": "completed", "error": None, "incomplete_details": None},
        {"finish_reason": "COMPLETE"},
    ],
)
async def test_whole_answer_is_stored_whatever_its_provider_calls_it(metadata: dict[str, Any]) -> None:
    cache = AsyncCacheLLM("memory://")
    await cache.aupdate("prompt", "model", [said("whole", response_metadata=metadata)])
    assert cache.stats().stored == 1
