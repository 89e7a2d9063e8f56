"""From rows and labels to the arrays that `asynccache.decision.pair_score` reads."""

# ruff: noqa: SLF001, SIM905 - what scikit-learn has fitted can be had in no other way

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (  # pyright: ignore[reportMissingImports]  # of the extra "training"
    HistGradientBoostingClassifier,
)

from asynccache.decision._features import NAMES
from asynccache.decision._trees import LEAVES

TREES: Final = 120
RATE: Final = 0.08
LEAST: Final = 40  # rows in a leaf

# More of these never makes the same answer likelier, whatever a training set says.
AGAINST: Final = frozenset(
    "only_most only_least rarest_most rarest_least count_most count_least opposed siblings units "
    "numbers_both "
    "numbers_one numbers_moved negations wh_both quantity_both quantity_one modal_both tense person_both "
    "direction_both names_most names_least moved roles crossed middle_mass_least".split()
)
FOR: Final = frozenset(("cosine", "shared"))

EVERY: Final = (1 << LEAVES) - 1
SHARE: Final = 0.5
MOST: Final = 2.5
BOUND: Final = (14.0, -11.2)  # a cosine of 0.8 says nothing either way
GENERIC: Final = (0.0, 0.0)
# Share, most and line were chosen on the development stream, for the hit rate at 1, 2 and 5 % of wrong hits.


@dataclass(frozen=True)
class Pairs:
    """Labelled pairs, ready to be learnt from."""

    rows: NDArray[np.float32]
    """shape (n, features)"""
    same: NDArray[np.bool_]
    weight: NDArray[np.float64]

    def __getitem__(self, kept: NDArray[Any]) -> Pairs:
        return Pairs(self.rows[kept], self.same[kept], self.weight[kept])


def boosted(
    rows: NDArray[np.float32], right: NDArray[np.bool_], weight: NDArray[np.float64], **options: Any
) -> HistGradientBoostingClassifier:
    """Trees that tell right from wrong; ``options`` say how many, how large, and what speaks only for it."""
    model = HistGradientBoostingClassifier(
        learning_rate=RATE,
        min_samples_leaf=LEAST,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=0,
        **options,
    )
    return model.fit(rows, right, sample_weight=weight)


def fit_trees(pairs: Pairs) -> HistGradientBoostingClassifier:
    signs = [-1 if name in AGAINST else 1 if name in FOR else 0 for name in NAMES]
    shape = {"max_iter": TREES, "max_leaf_nodes": LEAVES, "monotonic_cst": signs}
    return boosted(pairs.rows, pairs.same, pairs.weight, **shape)


def arrays(model: HistGradientBoostingClassifier) -> tuple[dict[str, NDArray[Any]], float]:
    """The trees as `Trees` has them, and what they start from."""
    forest = Forest()
    for (predictor,) in model._predictors:
        forest.plant(predictor.nodes)
    return forest.arrays(), float(model._baseline_prediction.ravel()[0])


class Forest:
    """The comparisons of trees, one tree after another."""

    def __init__(self) -> None:
        self._column: Final[list[int]] = []
        self._limit: Final[list[float]] = []
        self._strikes: Final[list[int]] = []
        self._starts: Final[list[int]] = []
        self._values: Final[list[list[float]]] = []

    def plant(self, nodes: NDArray[Any]) -> None:
        self._starts.append(len(self._column))
        self._values.append([])
        if nodes[0]["is_leaf"]:  # nothing was worth a comparison: one that everything passes
            self._column.append(0)
            self._limit.append(np.inf)
            self._strikes.append(EVERY)
        self._walk(nodes, 0)

    def _walk(self, nodes: NDArray[Any], at: int) -> int:
        """Visit a node, left first; the leaves below it, as bits."""
        node, leaves = nodes[at], self._values[-1]
        if node["is_leaf"]:
            leaves.append(float(node["value"]))
            return 1 << (len(leaves) - 1)
        mine = len(self._column)
        self._column.append(int(node["feature_idx"]))
        self._limit.append(float(node["num_threshold"]))
        self._strikes.append(EVERY)
        left = self._walk(nodes, int(node["left"]))
        self._strikes[mine] = EVERY & ~left
        return left | self._walk(nodes, int(node["right"]))

    def arrays(self) -> dict[str, NDArray[Any]]:
        values = np.zeros((len(self._values), LEAVES), np.float32)
        for row, leaves in zip(values, self._values, strict=True):
            row[: len(leaves)] = leaves
        return {
            "column": np.array(self._column, np.uint8),
            "limit": np.array(self._limit, np.float32),
            "strikes": np.array(self._strikes, np.uint16),
            "starts": np.array(self._starts, np.int64),
            "values": values,
        }


def fit(pairs: Pairs, part: str) -> dict[str, NDArray[Any]]:
    """The arrays of one part of the weights file: "bound", or "generic", which sees no cosine."""
    rows = pairs.rows.copy()
    line, share = (BOUND, SHARE)
    if part == "generic":
        rows[:, [NAMES.index(name) for name in ("cosine", "distance_by_length")]] = 0
        line, share = GENERIC, SHARE
    trees, base = arrays(fit_trees(Pairs(rows, pairs.same, pairs.weight)))
    scale = np.array([base, MOST, *line, share])
    return {**{f"{part}_{name}": value for name, value in trees.items()}, f"{part}_scale": scale}
