"""What can be written after ``asynccache demo``."""

from __future__ import annotations

import argparse

from asynccache.cli._argument_types import MOST_AT_ONCE, concurrency, cosine, count, error_share, seconds
from asynccache.cli._demo_semantic import MAX_ERROR

__all__ = ["add", "problem"]


def add(demo: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    demo.add_argument(
        "--upstream", metavar="URL", help="an OpenAI-compatible server, such as http://127.0.0.1:8000/v1"
    )
    demo.add_argument("--model", help="which of its models")
    demo.add_argument("--api-key-env", metavar="NAME", help="the environment variable that holds its API key")
    demo.add_argument(
        "--latency", type=seconds, default=0.3, help="seconds the stand-in takes to answer; default 0.3"
    )
    demo.add_argument("--requests", type=count, default=1200, metavar="N", help="how many; default 1200")
    demo.add_argument(
        "--concurrency",
        type=concurrency,
        default=16,
        metavar="N",
        help=f"how many at a time, up to {MOST_AT_ONCE}; default 16",
    )
    demo.add_argument(
        "--rate",
        type=count,
        default=100,
        metavar="N",
        help="how many a second, as customers come; default 100",
    )
    demo.add_argument(
        "--max-error",
        type=error_share,
        metavar="SHARE",
        help=f"of the answers to near questions that may be wrong; default {MAX_ERROR:g}",
    )
    demo.add_argument(
        "--threshold",
        type=cosine,
        metavar="COSINE",
        help="serve another question's answer from this least cosine on instead, which promises nothing",
    )
    demo.add_argument(
        "--no-semantic", action="store_true", help="serve only the answer to the very same request"
    )


def problem(given: argparse.Namespace) -> str | None:
    """What does not go together, or None; ``max_error`` is filled in."""
    if given.config is not None:
        return "it stands on its own and takes no --config"
    if given.upstream is not None and given.model is None:
        return "--upstream needs --model"
    if given.upstream is None and (given.model is not None or given.api_key_env is not None):
        return "--model and --api-key-env need --upstream"
    for name, setting in (("--threshold", given.threshold), ("--max-error", given.max_error)):
        if given.no_semantic and setting is not None:
            return f"{name} says nothing with --no-semantic"
    if given.threshold is not None and given.max_error is not None:
        return "give either --max-error or --threshold, which keeps no promise"
    given.max_error = MAX_ERROR if given.max_error is None else given.max_error
    return None
