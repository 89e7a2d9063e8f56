"""What a partition's index is made of, and the files it is kept in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asynccache.index._graph import Graph, MakeGraph
from asynccache.index.exact import ExactIndex

__all__ = ["Parts", "load_parts", "save_parts"]


@dataclass(slots=True, eq=False)
class Parts:
    """The tail, compared one and all, and the graph. No key is in both."""

    tail: ExactIndex
    graph: Graph | None = None
    successor: Graph | None = None
    """A graph being made to take the other's place: it holds nothing that the other does not."""

    def graphs(self) -> list[Graph]:
        """Those there are."""
        return [graph for graph in (self.graph, self.successor) if graph is not None]


def save_parts(prefix: Path, parts: Parts) -> dict[str, Any]:
    """Write the files; what is needed beside them, as JSON data.

    Raises:
        OSError: a file could not be written.
    """
    tail, graph = parts.tail, parts.graph
    state: dict[str, Any] = {
        "dim": tail.dim,
        "tail": len(tail),
        "graph": None,
        "stored": len(tail),
        "files": [".tail"],
    }
    keys = list(tail.keys())
    with _beside(prefix, ".tail").open("wb") as file:
        np.save(file, np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, 32), allow_pickle=False)
        np.save(file, np.asarray(tail.expiries_of(keys), dtype=np.float64), allow_pickle=False)
        np.save(file, tail.vectors_of(keys), allow_pickle=False)
    if graph is not None:
        used = graph.save(_beside(prefix, ".graph"), _beside(prefix, ".keys"))
        state["graph"] = {
            "library": type(graph).__name__,
            "used": used,
            "live": len(graph),
            "ef": graph.ef,
            "enough": graph.enough,
        }
        state["stored"] += graph.nodes  # fewer than its keys: equal vectors are stored once
        state["files"] += [".graph", ".keys"]
    return state


def load_parts(prefix: Path, state: Mapping[str, Any], make_graph: MakeGraph) -> Parts:
    """Read the files.

    Raises:
        ValueError: the parts do not fit together or are not whole.
        OSError: a file cannot be read.
    """
    try:
        tail = _load_tail(_beside(prefix, ".tail"), int(state["dim"]))
        graph = None if state["graph"] is None else _load_graph(prefix, tail.dim, state["graph"], make_graph)
        stored = len(tail) + (0 if graph is None else graph.nodes)
        whole = (len(tail), stored) == (int(state["tail"]), int(state["stored"]))
    except (KeyError, TypeError) as error:
        raise ValueError("the state does not say what there was") from error
    if not whole or (graph is not None and any(key in graph for key in tail.keys())):  # noqa: SIM118
        raise ValueError("the parts do not belong together")
    return Parts(tail, graph)


def _load_tail(path: Path, dim: int) -> ExactIndex:
    with path.open("rb") as file:
        keys, expiries, vectors = (np.load(file, allow_pickle=False) for _ in range(3))
    if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1:] != (32,):  # noqa: PLR2004
        raise ValueError("the tail holds no keys")
    tail = ExactIndex(dim)
    tail.add([row.tobytes() for row in keys], vectors, expiries.tolist())
    return tail


def _load_graph(prefix: Path, dim: int, told: Mapping[str, Any], make_graph: MakeGraph) -> Graph:
    used = int(told["used"])
    graph = make_graph(dim, capacity=used)
    if told["library"] != type(graph).__name__:
        raise ValueError("the graph is another library's")
    graph.load(_beside(prefix, ".graph"), _beside(prefix, ".keys"), used)
    graph.ef = int(told["ef"])
    enough = told.get("enough")  # earlier versions did not look for it
    graph.enough = None if enough is None else int(enough)
    if len(graph) != int(told["live"]):
        raise ValueError("the graph is not whole")
    return graph


def _beside(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)
