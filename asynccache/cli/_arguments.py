"""What can be written after ``asynccache``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from asynccache.cli import _demo_arguments as demo
from asynccache.cli import _replay_arguments as replay
from asynccache.cli import _serve_arguments as serve
from asynccache.cli._argument_types import count, param

__all__ = ["parse"]

_EPILOG: Final = """\
Options come from the command line, else from ASYNCCACHE_... variables, else from the file of --config
(default: ASYNCCACHE_CONFIG, else ./asynccache.toml). Exit codes: 0 done, 1 failed, 2 wrong usage.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, checked. Wrong usage exits with 2.

    ``config`` and ``backend`` are None when not given; ``command`` is always there.
    """
    parser = _parser()
    given = parser.parse_args(arguments, argparse.Namespace(config=None, backend=None))
    if given.command == "demo" and (problem := demo.problem(given)) is not None:
        parser.error(f"demo: {problem}")
    if given.command == "index" and given.action == "rebuild" and given.json:
        parser.error("index: rebuild prints no JSON")
    if given.command == "replay" and (problem := replay.problem(given)) is not None:
        parser.error(f"replay: {problem}")
    if given.command == "get":
        if (given.question is None) == (given.body is None):
            parser.error("get: give either a question or --body")
        if given.body is not None and (given.system is not None or given.param):
            parser.error(
                "get: --system and --param belong to a question; with --body, put them into the body"
            )
    return given


def _parser() -> argparse.ArgumentParser:
    from asynccache import __version__

    parser = argparse.ArgumentParser(
        prog="asynccache",
        description="A cache for what language models answer: see it work, and look after its store.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"asynccache {__version__}")
    _add_common(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def command(name: str, summary: str, description: str = "") -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=summary, description=f"{summary}. {description}".strip(), allow_abbrev=False
        )
        _add_common(added)
        return added

    demo.add(
        command(
            "demo",
            "Ask real customer questions through the cache and show what it saved",
            "Without --upstream a stand-in server on 127.0.0.1 answers, over real HTTP; it is no language "
            "model. With the extra 'semantic' near questions are answered as well, and the wrong answers "
            "among them counted. --backend defaults to sqlite:///demo.sqlite here.",
        )
    )
    stats = command("stats", "Tell what a store holds")
    stats.add_argument("--json", action="store_true", help="print one JSON document")
    serve.add(command("serve", serve.SUMMARY, serve.DESCRIPTION))
    replay.add(command("replay", replay.SUMMARY, replay.DESCRIPTION))
    _add_get(
        command(
            "get",
            "Print the stored answer to a question",
            "Never asks the upstream. The question must be the very one that was asked: same model, system "
            "message, parameters and scope.",
        )
    )
    _add_search(
        command(
            "search",
            "Show the stored questions nearest to a question",
            "Of all partitions, so of all tenants. Every vector of the embedder is compared.",
        )
    )
    _add_index(
        command(
            "index",
            "Look after the snapshots of the semantic index",
            "status tells what there is; verify compares it with the store, and fails when something is "
            "wrong; rebuild makes it anew.",
        )
    )
    clear = command("clear", "Remove what a store holds")
    clear.add_argument(
        "--tag", action="append", default=[], help="only entries carrying this tag; may be repeated"
    )
    clear.add_argument("--yes", action="store_true", help="do not ask first")
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    # Before or after the command; SUPPRESS keeps the later parser from undoing what the earlier one read.
    parser.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="TOML file of options")
    parser.add_argument(
        "--backend",
        metavar="URL",
        default=argparse.SUPPRESS,
        help="the store, such as sqlite:///answers.db; default: a SQLite file in your cache directory",
    )


def _add_get(get: argparse.ArgumentParser) -> None:
    get.add_argument("question", nargs="?")
    get.add_argument("--model", help="default: default_model of the configuration")
    get.add_argument("--system", metavar="TEXT", help="the system message")
    get.add_argument(
        "--param",
        type=param,
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="a further field of the request, such as temperature=0; may be repeated",
    )
    get.add_argument("--tenant", help="whose answer: the customer")
    get.add_argument("--user", help="whose answer: the person")
    get.add_argument("--namespace", help="whose answer: the application")
    get.add_argument(
        "--body", metavar="FILE", help="a whole chat-completions request as JSON; - reads standard input"
    )
    get.add_argument("--json", action="store_true", help="print one JSON document")


def _add_search(search: argparse.ArgumentParser) -> None:
    search.add_argument("question")
    search.add_argument("-k", type=count, default=10, metavar="N", help="how many; default 10")
    search.add_argument(
        "--embedder",
        metavar="MODEL",
        help="name or folder of a model; default: embedder of the configuration",
    )
    search.add_argument("--json", action="store_true", help="print one JSON document")


def _add_index(index: argparse.ArgumentParser) -> None:
    index.add_argument("action", choices=("status", "verify", "rebuild"))
    index.add_argument("--json", action="store_true", help="print one JSON document; not with rebuild")
