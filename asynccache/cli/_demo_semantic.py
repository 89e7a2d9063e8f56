"""The demo's words about semantic hits: never how many without how many of them were wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asynccache.cli._labels import interval

if TYPE_CHECKING:
    from asynccache.cli._labels import Labels
    from asynccache.cli._tally import Tally

__all__ = ["EXAMPLES", "THRESHOLD", "hit_rate", "wrong_hits"]

THRESHOLD: Final = 0.85
"""Chosen on the 934 questions of the same intents that the demo does not ask, each asked once, in 20 random
orders: 38 % of them got the answer to another question, 1.5 % of those one of another intent. At 0.80 it was
51 % and 2.7 %, at 0.90 25 % and 0.5 %, at 0.95 9 % and none."""

EXAMPLES: Final = 3
"""Shown of the right hits, and of the wrong ones."""


def hit_rate(tally: Tally, labels: Labels | None) -> str:
    """How many requests were hits, and of which kind."""
    total = tally.requests
    if labels is None:
        return f"{tally.hits / total:.1%}; every hit is the answer to that very request: the exact tier only"
    return (
        f"{tally.hits / total:.1%}: {tally.exact / total:.1%} exact, the answer to that very request, and "
        f"{tally.semantic / total:.1%} semantic, the answer to a near question, which may be wrong:"
    )


def wrong_hits(labels: Labels) -> str:
    """How many of the semantic hits were wrong."""
    unknown = f"; {labels.unknown:,} on questions without a label" if labels.unknown else ""
    if not labels.judged:
        return f"no semantic hit to judge{unknown}"
    right, wrong = (len(labels.pairs(right=each)) for each in (True, False))
    low, high = interval(wrong, right + wrong)
    return (
        f"{labels.wrong:,} of {labels.judged:,} semantic hits ({labels.wrong / labels.judged:.1%}) had the "
        f"answer to a question of another intent, by the labels of the data set{unknown}. Each pair of "
        f"questions counted once: {wrong} of {right + wrong}, 95 % interval {low:.1%} to {high:.1%}. A least "
        "cosine promises nothing: where questions differ in a number, a name or a negation, many more are "
        "wrong."
    )
