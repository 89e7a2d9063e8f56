"""The upstream of the proxies' benchmark: it answers at once, at great length, or hardly ever."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

import orjson
import uvicorn
from _proxy_load import LARGE, SLOW

WORDS: Final = 1_600_000
"""Of a large answer, which are 8 MB: more than the sockets of a slow reader hold."""
_BETWEEN: Final = 10.0
"""Seconds between two events of a slow stream."""


async def app(_: Any, receive: Any, send: Any) -> None:
    body = b""
    more = True
    while more:
        piece = await receive()
        body += piece.get("body", b"")
        more = piece.get("more_body", False)
    question = orjson.loads(body)["messages"][0]["content"]
    kind = b"text/event-stream" if question.startswith(SLOW) else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    if question.startswith(SLOW):
        choice = {"index": 0, "delta": {"content": "word "}, "finish_reason": None}
        chunk = {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [choice],
        }
        gone = asyncio.create_task(receive())
        while not gone.done():
            event = b"data: " + orjson.dumps(chunk) + b"\n\n"
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await asyncio.wait([gone], timeout=_BETWEEN)
        return
    await send({"type": "http.response.body", "body": answer_document(question)})


def answer_document(question: str) -> bytes:
    """The whole answer to a question."""
    text = "word " * (WORDS if question == LARGE else 60)
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 60, "total_tokens": 70}
    answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return orjson.dumps({**answer, "usage": usage})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="critical", access_log=False, lifespan="off")
