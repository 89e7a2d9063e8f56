"""``asynccache replay``: what each decision would have done with recorded traffic."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from asynccache._errors import ConfigurationError
from asynccache._lifespan import entered
from asynccache.cli._output import say
from asynccache.cli._replay_file import read_recording, read_same
from asynccache.cli._replay_judges import LabelJudge, OnceJudge
from asynccache.cli._replay_modes import DEFAULTS
from asynccache.cli._replay_progress import progress
from asynccache.cli._replay_report import document, words
from asynccache.cli._replay_run import Player
from asynccache.cli._replay_vectors import VectorTable
from asynccache.cli._store import options_of
from asynccache.decision.equivalence import BuiltinJudge
from asynccache.embedders import as_embedder
from asynccache.stages import Normalize

if TYPE_CHECKING:
    from asynccache._protocols import AnswerEquivalence, Embedder
    from asynccache.cli._replay_modes import Mode
    from asynccache.cli._replay_run import Played

__all__ = ["run"]


def run(given: argparse.Namespace) -> int:
    """Read everything, play it once for each mode, and print the figures. Nothing is sent or stored."""
    options = options_of(given)
    history = str(options.get("history", "equal"))
    keyring = Normalize(history=history).keyring
    recording = read_recording(given.file, keyring, limit=given.limit, skip_bad=given.skip_bad)
    if given.same is not None and not recording.labelled:
        raise ConfigurationError("--same: a log has answers, and no labels that pairs could be added to")
    by = given.judge or ("labels" if recording.labelled else "builtin")
    embedder = as_embedder(given.embedder or options.get("embedder", "default"))
    judge: AnswerEquivalence
    if by == "labels":
        judge = LabelJudge(() if given.same is None else read_same(given.same, keyring))
    else:
        judge = OnceJudge(BuiltinJudge(embedder))
    table = VectorTable(embedder)
    player = Player(
        recording.requests,
        embedder=table,
        judge=judge,
        audit=given.audit,
        history=history,
        examples=given.examples,
    )
    modes = list(dict.fromkeys(given.mode or DEFAULTS))
    played = anyio.run(_play, player, modes, embedder, table)
    told: dict[str, Any] = {"judge": by, "labelled": recording.labelled, "skipped": recording.skipped}
    if given.json:
        figures = document(played, **told, with_examples=bool(given.examples))
        say(orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode())
    else:
        say(words(played, **told))
    return 0


async def _play(player: Player, modes: list[Mode], embedder: Embedder, table: VectorTable) -> list[Played]:
    async with entered(embedder):
        with progress() as begin:
            if any(mode.decision is not None for mode in modes):
                await table.fill(player.questions, begin("vectors", len(player.questions)))
            return [await player.play(mode, begin(str(mode), len(player))) for mode in modes]
