"""What the labels of the neighbourhood say about a candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from asynccache.decision.records import Known

__all__ = ["Around", "around", "local_shift"]

REACH: Final = 0.15
"""How fast a neighbour's word loses weight with its distance (1 - cosine)."""
PRIOR: Final = 0.375
"""Information that says "no shift", set against the neighbours': one and a half labels at even odds."""
MOST: Final = 3.0
NEAR: Final = 0.08
"""The same as REACH where neighbours vote: nearer, for there each stands for itself alone."""
FAR: Final = 0.3
"""Cosine of the nearest other answer where there is none among the neighbours."""


class Around(NamedTuple):
    """What is known of the questions around one, with regard to a candidate's answer."""

    shift: float
    """What the labels add to every score, log odds, -3 to 3."""
    share: float
    """Of the neighbours' votes those for the candidate's answer, 0 to 1."""
    margin: float
    """Cosine of the nearest question with this answer less that of the nearest with another, -2 to 2."""
    members: int
    """Neighbours with this answer."""


def around(cosines: NDArray[np.floating], known: Known, candidate: int) -> Around:
    """What is known around a question.

    Args:
        cosines: shape (n,), of the nearest stored questions.
        known: of the same.
        candidate: the place among them of the one whose answer is proposed.
    """
    alike = known.groups == known.groups[candidate]
    votes = np.exp((cosines - 1.0) / NEAR)
    others = cosines[~alike]
    return Around(
        local_shift(cosines, known.pull, known.information),
        float(votes[alike].sum() / votes.sum()),
        float(cosines[alike].max() - (others.max() if len(others) else FAR)),
        int(alike.sum()),
    )


def local_shift(
    cosines: NDArray[np.floating], pull: NDArray[np.floating], information: NDArray[np.floating]
) -> float:
    """What to add to the scores of a question's candidates: one damped Newton step towards the labels nearby.

    It makes a topic full of look-alikes strict, and one whose questions are put in many ways generous.

    Args:
        cosines: shape (n,), of the nearest entries.
        pull: shape (n,), for each the sum over its records of label (0 or 1) less predicted probability.
        information: shape (n,), the sum of probability times its complement.

    Returns:
        -3 to 3; 0 without neighbours or records.
    """
    weight = np.exp((cosines - 1.0) / REACH)
    shift = float(weight @ pull) / (PRIOR + float(weight @ information))
    return min(max(shift, -MOST), MOST)
