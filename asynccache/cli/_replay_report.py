"""What a replay prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from asynccache.cli._labels import interval
from asynccache.cli._output import columns

if TYPE_CHECKING:
    from asynccache.cli._replay_run import Example, Played

__all__ = ["document", "words"]

_WIDTH: Final = 100
"""Characters of a question in an example."""


def document(
    played: Sequence[Played], *, labelled: bool, judge: str, skipped: int, with_examples: bool
) -> dict[str, Any]:
    """The figures for a program.

    Args:
        played: the modes.
        labelled: whether the answers are labels.
        judge: ``"labels"`` or ``"builtin"``.
        skipped: bad lines left out.
        with_examples: whether the questions of wrong hits are part of it.
    """
    return {
        "form": "stream" if labelled else "log",
        "judge": judge,
        "skipped_lines": skipped,
        "modes": [
            _figures(each)
            | ({"examples": [example._asdict() for example in each.examples]} if with_examples else {})
            for each in played
        ],
    }


def _figures(played: Played) -> dict[str, Any]:
    judged, account = played.right + played.wrong, played.account
    return {
        "mode": str(played.mode),
        "requests": played.requests,
        "exact_hits": played.exact,
        "semantic_hits": played.semantic,
        "hit_rate": played.hit_rate,
        "right": played.right,
        "wrong": played.wrong,
        "undecided": played.undecided,
        "wrong_rate": played.wrong / judged if judged else None,
        "wrong_interval": interval(played.wrong, judged) if judged else None,
        "audited": played.audited,
        "reported": None
        if account is None
        else {
            "labels": account.labels,
            "wrong_rate": None if account.wrong is None else account.wrong.rate,
            "wrong_interval": None if account.wrong is None else (account.wrong.low, account.wrong.high),
            "limits": [
                {
                    "namespace": namespace,
                    "limit": None if math.isinf(limit) else limit,
                    "closed": math.isinf(limit),
                }
                for namespace, limit in account.limits.items()
            ],
        },
    }


def words(played: Sequence[Played], *, labelled: bool, judge: str, skipped: int) -> str:
    """The figures for a reader, and what they mean.

    Args:
        played: the modes.
        labelled: whether the answers are labels.
        judge: ``"labels"`` or ``"builtin"``.
        skipped: bad lines left out.
    """
    with_undecided = any(each.undecided for each in played)
    heading = ["mode", "requests", "exact hits", "semantic hits", "hit rate", "wrong semantic hits"]
    heading += ["undecided"] if with_undecided else []
    heading += ["limit", "wrong, as reported"]
    lines = [columns(heading, (_row(each, with_undecided=with_undecided) for each in played))]
    if skipped:
        lines.append(f"{skipped:,} bad {'line was' if skipped == 1 else 'lines were'} left out.")
    for each in played:
        if each.examples:
            lines += ["", f"wrong under {each.mode}:", columns(_EXAMPLE, map(_example, each.examples))]
    return "\n".join([*lines, "", _meaning(played, labelled=labelled, judge=judge)])


def _row(played: Played, *, with_undecided: bool) -> list[str]:
    judged, account = played.right + played.wrong, played.account
    wrong = ""
    if judged:
        share = _share(played.wrong / judged, *interval(played.wrong, judged))
        wrong = f"{played.wrong:,} of {judged:,}, {share}"
    reported = None if account is None else account.wrong
    return [
        str(played.mode),
        f"{played.requests:,}",
        f"{played.exact:,}",
        f"{played.semantic:,}",
        f"{played.hit_rate:.1%}",
        wrong,
        *([f"{played.undecided:,}"] if with_undecided else []),
        "" if account is None else _limits(list(account.limits.values())),
        "" if reported is None else _share(*reported),
    ]


def _share(rate: float, low: float, high: float) -> str:
    return f"{rate:.1%} ({low:.1%} to {high:.1%})"


def _limits(limits: Sequence[float]) -> str:
    """That of the one namespace, or the least and the largest of several."""
    if not limits:
        return ""
    ends = dict.fromkeys(
        "closed" if math.isinf(limit) else f"{limit:.2f}" for limit in (min(limits), max(limits))
    )
    return " to ".join(ends)


_EXAMPLE: Final = ("cosine", "question")


def _example(example: Example) -> tuple[str, str]:
    return f"{example.similarity:.3f}", f"{_line(example.asked)}  <-  {_line(example.answered)}"


def _line(text: str) -> str:
    # On one line, and without what a terminal would obey.
    shown = "".join(each if each.isprintable() else " " for each in text[: _WIDTH + 1])
    return shown if len(text) <= _WIDTH else f"{shown[: _WIDTH - 1]}…"


def _meaning(played: Sequence[Played], *, labelled: bool, judge: str) -> str:
    if judge == "builtin":
        right = (
            "the built-in judge, which errs itself and is who teaches the decisions too, finds that its "
            "answer says what the recorded one says"
        )
    elif labelled:
        right = "its label is the request's"
    else:
        right = "its answer is the recorded one, letter for letter"
    if any(each.undecided for each in played):
        right += " (what it cannot decide is in neither figure, and may be wrong more often than the rest)"
    shadow = any(each.mode.decision == "shadow" for each in played)
    would = "; shadow serves nothing: its figures are of what it would have served" if shadow else ""
    return (
        f"A semantic hit counts as right when {right}; intervals (95 %) are about chance alone, a limit is "
        "the least log odds served at the end, and all is about these requests in this order, asked of a "
        "cache that was empty and had learnt nothing: it does not say what other traffic would get"
        f"{would}."
    )
