"""Chat requests of several tenants, as applications write them: the time first, tools in any order.

Each tenant has 90 words of instructions and 4 tools of its own. A prompt has some 640 tokens; tools are
written before the instructions, as in many chat templates.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

__all__ = ["Asked", "Tenant", "asked", "one_application", "prompt", "tenants"]

INSTRUCTIONS: Final = 90  # words
TOOLS: Final = 4
QUESTION: Final = 12  # words
_BEGAN: Final = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
_HEAD: Final = "<|im_start|>system\nYou may call these functions:\n<tools>\n"
_WORDS: Final = [
    first + last
    for first in ("a", "bal", "con", "de", "ex", "fo", "in", "lo", "mar", "of", "pro", "re", "sal", "un")
    for last in ("ber", "cord", "dent", "duct", "fer", "fix", "ket", "line", "ment", "port", "ter", "tion")
]
"""Of the length of English ones."""


@dataclass(frozen=True)
class Tenant:
    """A customer with an application of its own."""

    name: str
    instructions: str
    tools: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Asked:
    """One request as it was written, and whose it is."""

    tenant: Tenant
    body: dict[str, Any]


def tenants(count: int, chance: random.Random) -> list[Tenant]:
    return [_tenant(f"tenant {number}", chance) for number in range(count)]


def one_application(count: int, chance: random.Random) -> list[Tenant]:
    """Tenants that all use one application: the same instructions and tools."""
    first = _tenant("tenant 0", chance)
    return [replace(first, name=f"tenant {number}") for number in range(count)]


def asked(
    among: Sequence[Tenant], requests: int, chance: random.Random, *, weights: Sequence[float] | None = None
) -> list[Asked]:
    """Requests with time and request id first, and tools in an order of their own.

    Args:
        among: the tenants; one is drawn for each request.
        requests: how many; each has a new question.
        chance: all of it.
        weights: how often each tenant is drawn, relatively; None: equally often.
    """
    made = []
    for number in range(requests):
        [tenant] = chance.choices(among, weights)
        at = _BEGAN + timedelta(seconds=37 * number)
        now = f"Current time: {at:%Y-%m-%dT%H:%M:%SZ}\nRequest id: req-{chance.getrandbits(48):012x}"
        messages = [
            {"role": "system", "content": f"{now}\n{tenant.instructions}"},
            {"role": "user", "content": _prose(chance, QUESTION)},
        ]
        tools = chance.sample(tenant.tools, TOOLS)
        made.append(Asked(tenant, {"model": "m", "messages": messages, "tools": tools}))
    return made


def prompt(body: Mapping[str, Any]) -> str:
    """The text that a chat template makes of a request: tools as JSON, then one message after another."""
    lines = [_HEAD, *(orjson.dumps(tool).decode() + "\n" for tool in body["tools"]), "</tools>\n"]
    for message in body["messages"]:
        if message["role"] != "system":
            lines.append(f"<|im_start|>{message['role']}\n")
        lines.append(f"{message['content']}<|im_end|>\n")
    return "".join((*lines, "<|im_start|>assistant\n"))


def _tenant(name: str, chance: random.Random) -> Tenant:
    tools = tuple(_tool(chance) for _ in range(TOOLS))
    return Tenant(name, _prose(chance, INSTRUCTIONS), tools)


def _tool(chance: random.Random) -> dict[str, Any]:
    names = chance.sample(_WORDS, 2)
    fields = {
        name: {"type": chance.choice(("string", "integer")), "description": _prose(chance, 12)}
        for name in chance.sample(_WORDS, 2)
    }
    parameters = {"type": "object", "properties": fields, "required": list(fields)[:1]}
    function = {"name": "_".join(names), "description": _prose(chance, 16), "parameters": parameters}
    return {"type": "function", "function": function}


def _prose(chance: random.Random, words: int) -> str:
    return " ".join(chance.choice(_WORDS) for _ in range(words)).capitalize() + "."
