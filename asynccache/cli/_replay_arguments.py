"""What can be written after ``asynccache replay``."""

from __future__ import annotations

import argparse
from typing import Final

from asynccache.cli._argument_types import count, share
from asynccache.cli._replay_modes import DEFAULTS, parse_mode

__all__ = ["DESCRIPTION", "SUMMARY", "add", "problem"]

SUMMARY: Final = "Tell what the semantic tier would have done with recorded traffic"
DESCRIPTION: Final = (
    "Plays the requests of a file, one after the other, once for each mode, and prints how many would have "
    "been hits and how many of these wrong. Nothing is sent anywhere, and nothing of the file is stored. A "
    'line is a JSON object, all of one kind: {"question", "answer"} or {"messages", "answer"}, beside which '
    '"tenant", "user", "namespace", "model" and, with a question, "system" may stand; {"request", '
    '"response"}, a chat completion as it went over the wire and what came back; or {"prompt", "cls"}, where '
    'prompts with equal "cls" have one answer.'
)


def add(replay: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    replay.add_argument("file", metavar="FILE", help="JSON lines, gzip or not; - reads standard input")
    replay.add_argument(
        "--mode",
        type=parse_mode,
        action="append",
        metavar="MODE",
        help="promise:SHARE (of the semantic hits that may be wrong), threshold:COSINE, vcache:SHARE, "
        f"shadow:SHARE or none; may be repeated; default {', '.join(map(str, DEFAULTS))}",
    )
    replay.add_argument("--limit", type=count, metavar="N", help="only the first N requests")
    replay.add_argument(
        "--skip-bad", action="store_true", help="leave out bad lines and count them; default: refuse the file"
    )
    replay.add_argument(
        "--same",
        metavar="FILE",
        help='of a file with "cls": lines {"a", "b", "same": true}, prompts with one answer all the same',
    )
    replay.add_argument(
        "--judge",
        choices=("builtin", "labels"),
        help="who says whether an answer was right: the built-in judge, or whether it equals the one "
        'recorded; default: labels with "cls", builtin with answers',
    )
    replay.add_argument(
        "--audit",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="of the semantic hits that the cache checks behind the caller, as its option audit; default 0",
    )
    replay.add_argument(
        "--embedder",
        metavar="MODEL",
        help="name or folder of a model; default: embedder of the configuration",
    )
    replay.add_argument(
        "--examples",
        type=count,
        default=0,
        metavar="N",
        help="print the questions of the first N wrong hits of each mode; default: no text is printed",
    )
    replay.add_argument("--json", action="store_true", help="print one JSON document")


def problem(given: argparse.Namespace) -> str | None:
    """What does not go together, or None."""
    if given.backend is not None:
        return "it runs in memory and stores nothing: it takes no --backend"
    if given.same is not None and given.judge == "builtin":
        return "--same says nothing with --judge builtin"
    if given.file == given.same == "-":
        return "only one of FILE and --same can be standard input"
    return None
