"""The demo's words about semantic hits: never how many without how many of them were wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from asynccache.cli._labels import interval

if TYPE_CHECKING:
    import argparse

    from asynccache._stats import Stats
    from asynccache.cli._labels import Labels
    from asynccache.cli._tally import Tally

__all__ = ["EXAMPLES", "MAX_ERROR", "hit_rate", "own_account", "rule", "wrong_hits"]

MAX_ERROR: Final = 0.02
"""The pipeline's own default."""

EXAMPLES: Final = 3
"""Shown of the right hits, and of the wrong ones."""


def rule(given: argparse.Namespace) -> str:
    """When a near question's answer is served."""
    if given.threshold is not None:
        return f"A question is given the answer to another one from a cosine of {given.threshold:g} on."
    return (
        "A question is given the answer to another one when that is so likely to be right that no more than "
        f"{given.max_error * 100:g}% of such answers are wrong. Few are at first: fresh answers teach the "
        "cache which questions have the same."
    )


def hit_rate(tally: Tally, labels: Labels | None) -> str:
    """How many requests were hits, and of which kind."""
    total = tally.requests
    if labels is None:
        return f"{tally.hits / total:.1%}; every hit is the answer to that very request: the exact tier only"
    return (
        f"{tally.hits / total:.1%}: {tally.exact / total:.1%} exact, the answer to that very request, and "
        f"{tally.semantic / total:.1%} semantic, the answer to a near question, which may be wrong:"
    )


def wrong_hits(labels: Labels, *, promised: bool = False, shared: int = 0) -> str:
    """How many of the answers to near questions were wrong.

    Args:
        labels: have judged them.
        promised: whether the decision promises anything about them.
        shared: how many of them were in the making when they were asked for.
    """
    unknown = f"; {labels.unknown:,} on questions without a label" if labels.unknown else ""
    if not labels.judged:
        return f"no semantic hit to judge{unknown}"
    right, wrong = (len(labels.pairs(right=each)) for each in (True, False))
    low, high = interval(wrong, right + wrong)
    told = (
        f"{labels.wrong:,} of {labels.judged:,} semantic hits ({labels.wrong / labels.judged:.1%}) had the "
        f"answer to a question of another intent, by the labels of the data set{unknown}. Each pair of "
        f"questions counted once: {wrong} of {right + wrong}, 95 % interval {low:.1%} to {high:.1%}."
    )
    if shared:
        told += f" Shared with a near question in flight: {shared:,}."
    if not promised:
        told += (
            " A least cosine promises nothing: where questions differ in a number, a name or a negation, "
            "many more are wrong."
        )
    return told


def own_account(stats: Stats, namespace: str | None) -> str | None:
    """What the cache, which knows no labels of a data set, says of its semantic hits; None: nothing."""
    learnt = stats.learnt
    if learnt is None:
        return None
    told = "no semantic hit to estimate from"
    if learnt.wrong is not None:
        rate, low, high = (f"{share:.1%}" for share in learnt.wrong)
        told = f"{rate} of the semantic hits were wrong, it estimates, 95 % interval {low} to {high}"
    told += f". It has learnt from {learnt.labels:,} comparisons of a fresh answer with a near question's"
    limit = learnt.limits.get(namespace)
    if limit is None:  # no near question was asked
        return f"{told}."
    serves = f"serves from log odds of {limit:.2f} on" if math.isfinite(limit) else "can serve nothing"
    return f"{told}, and {serves} now."
