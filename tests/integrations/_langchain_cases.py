"""A store that can be made to fail, a model that counts its calls, and answers, for LangChain's tests."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration

from asynccache._models import Entry
from asynccache.backends import MemoryBackend
from asynccache.testing import FakeClock

__all__ = ["TOOL_CALL", "CountingModel", "Watched", "counting", "said"]

TOOL_CALL = {
    "name": "look",
    "id": "call-1",
    "type": "tool_call",
    "args": {"lc": 1, "type": "constructor", "id": ["langchain_core", "messages", "AIMessage"], "kwargs": {}},
}


class Watched(MemoryBackend):
    """A backend that can be made to fail."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        super().__init__(clock=clock)
        self.error: Exception | None = None

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    async def get(self, key: bytes) -> Entry | None:
        self._fail()
        return await super().get(key)

    async def put(self, entry: Entry) -> None:
        self._fail()
        await super().put(entry)

    async def delete(self, keys: Collection[bytes]) -> int:
        self._fail()
        return await super().delete(keys)

    async def entries(self) -> list[Entry]:
        return [entry async for entry in self.scan()]


class CountingModel(FakeListChatModel):
    """Counts the calls it got."""

    calls: list[str] = []  # noqa: RUF012  (pydantic copies it)

    def _call(self, *args: Any, **kwargs: Any) -> str:
        self.calls.append("call")
        return super()._call(*args, **kwargs)


def counting(**options: Any) -> CountingModel:
    return CountingModel(responses=[f"answer {n}" for n in range(1000)], **options)


def said(text: str, **fields: Any) -> ChatGeneration:
    return ChatGeneration(message=AIMessage(text, **fields))
