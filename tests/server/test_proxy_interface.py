"""The proxy keeps what its OpenAPI document says, whatever it is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

pytestmark = pytest.mark.anyio

USAGE: Any = {
    "input_tokens": 1,
    "output_tokens": 1,
    "prompt_tokens": 1,
    "completion_tokens": 1,
    "total_tokens": 2,
}
CHOICE: Any = {
    "index": 0,
    "finish_reason": "stop",
    "text": "a",
    "message": {"role": "assistant", "content": "a"},
}
PART: Any = {"type": "output_text", "text": "a", "annotations": []}
SAID: Any = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [PART]}
ANSWERS: Any = {
    "/chat/completions": {"object": "chat.completion", "choices": [CHOICE]},
    "/completions": {"object": "text_completion", "choices": [CHOICE]},
    "/embeddings": {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]},
    "/messages": {
        "type": "message",
        "role": "assistant",
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "a"}],
    },
    "/responses": {"object": "response", "status": "completed", "output": [SAID]},
}


async def answer(asked: Any) -> None:
    path = asked.target.partition("?")[0].removeprefix("/v1")
    await asked.answer({"id": "x", "model": "m", "created": 1, "usage": USAGE, **ANSWERS[path]})


# On the loop that sets TCP_NODELAY itself; else each answer waits 40 ms for an ACK.
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"])
async def test_every_request_is_answered_as_documented(proxying: Any, tmp_path: Path) -> None:
    async with proxying.both(answer) as (_, served):
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}/openapi.json"]
        command += ["--max-examples", "10", "--seed", "1", "--no-color"]
        # What it does not know it passes over: directives of Cache-Control (RFC 9111, 5.2), fields of bodies.
        command += ["--exclude-checks", "negative_data_rejection"]
        with anyio.fail_after(50):
            fuzzed = await anyio.run_process(command, cwd=tmp_path, check=False, stderr=subprocess.STDOUT)
    assert fuzzed.returncode == 0, fuzzed.stdout.decode()[-6000:]
    assert b"0 errors" in fuzzed.stdout or b"No issues found" in fuzzed.stdout
    assert not served.reports
