"""Build the embedding model that the package carries: all-MiniLM-L6-v2 as ONNX, its weights stored in 8 bits.

Needs ``pip install numpy onnx`` in an environment of its own, and a folder with the original files of
sentence-transformers/all-MiniLM-L6-v2 (model.safetensors, tokenizer.json, config.json); their SHA-256 are
pinned below, so where they came from does not matter. The same input gives the same bytes::

    python tools/build_minilm.py ORIGINALS            # write into the package
    python tools/build_minilm.py ORIGINALS --check    # write nothing; does the package hold these bytes?
    python tools/build_minilm.py ORIGINALS --weights fp32 --output FOLDER    # to compare with

Only what is stored is rounded. Weights become float32 again once, when onnxruntime loads the model and folds
Cast * scale (DequantizeLinear it would leave in, and pay for in every call), rows of the vocabulary when they
are looked up; all arithmetic is float32. Rounding activations as well would be faster, but their scale is
taken over a whole batch: a text's vector would depend on what else is embedded at the same time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import (  # type: ignore[import-not-found]  # of this tool's own environment only
    TensorProto,
    checker,
    helper,
    numpy_helper,
)

PACKAGED: Final = Path(__file__).parent.parent / "asynccache" / "embedders" / "models" / "all-MiniLM-L6-v2"

WEIGHTS: Final = "model.safetensors"
PINNED: Final = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}

LAYERS: Final = 6
HEADS: Final = 12
DIM: Final = 384
EPSILON: Final = 1e-12  # of every layer normalisation; config.json: layer_norm_eps
MAX_LENGTH: Final = 256  # tokens: what the model was made for; the position table would reach to 512

# Weights that share a scale. The worst text's cosine to the original is 0.9992 so, and 0.9967 when a whole
# column shares one. The scales take 0.7 MB; half the block would double that for 0.0001.
BLOCK: Final = 64

OPSET: Final = 17
IR_VERSION: Final = 8  # the one that belongs to opset 17: what older onnxruntimes still read

Array = NDArray[Any]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def originals(folder: Path) -> dict[str, bytes]:
    """The pinned files.

    Raises:
        SystemExit: one of them is not the one that was pinned.
    """
    found = {name: (folder / name).read_bytes() for name in PINNED}
    for name, content in found.items():
        if digest(content) != PINNED[name]:
            sys.exit(
                f"{folder / name} is not the original: its SHA-256 is {digest(content)}, not {PINNED[name]}"
            )
    return found


def tensors(content: bytes) -> dict[str, NDArray[np.float32]]:
    """What a safetensors file holds: eight bytes with the header's length, the header as JSON, the data."""
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    found = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            first, last = (8 + length + offset for offset in entry["data_offsets"])
            found[name] = np.frombuffer(content[first:last], dtype="<f4").reshape(entry["shape"])
    return found


def rounded(values: Array, *, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """``values`` in 8 bits, and the scales to multiply by: one for each slice across ``axis``."""
    scale = (np.abs(values).max(axis=axis, keepdims=True) / np.float32(127)).astype(np.float32)
    return np.rint(values / scale).astype(np.int8), scale


class Graph:
    """An ONNX graph in the making: every method adds what it says, and names its result."""

    def __init__(self, source: dict[str, NDArray[np.float32]], *, rounding: bool) -> None:
        self.source = source
        self._rounding = rounding
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, name: str, value: Array) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def original(self, name: str) -> str:
        """A tensor of the original model, unrounded."""
        return self.constant(name, self.source[name])

    def normalisation(self, name: str) -> list[str]:
        return [self.original(f"{name}.weight"), self.original(f"{name}.bias")]

    def dense(self, name: str, value: str) -> str:
        """``value`` times the original's matrix; its bias is left to the step that follows."""
        weight = self.weight(f"{name}.weight", self.source[f"{name}.weight"].T)
        return self.node("MatMul", [value, weight], f"{name}.product")

    def node(self, kind: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        self._nodes.append(
            helper.make_node(kind, inputs, [output], name=f"{output}.{kind}", domain=domain, **attributes)
        )
        return output

    def fused(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node that onnxruntime has as one step, and other runtimes may not know."""
        return self.node(kind, inputs, output, domain="com.microsoft", **attributes)

    def weight(self, name: str, value: Array) -> str:
        """A matrix to multiply by, (inputs, outputs): one scale for BLOCK inputs of one output."""
        if not self._rounding:
            return self.constant(name, value)
        whole, scale = rounded(value.reshape(-1, BLOCK, value.shape[1]), axis=1)
        cast = self.node("Cast", [self.constant(f"{name}.int8", whole)], f"{name}.cast", to=TensorProto.FLOAT)
        blocks = self.node("Mul", [cast, self.constant(f"{name}.scale", scale)], f"{name}.blocks")
        shape = self.constant(f"{name}.shape", np.array(value.shape, np.int64))
        return self.node("Reshape", [blocks, shape], name)

    def rows(self, name: str, table: Array, indices: str) -> str:
        """Rows of a large table: one scale per row, and only the rows that are asked for become floats."""
        output = f"{name}.rows"
        if not self._rounding:
            return self.node("Gather", [self.constant(name, table), indices], output)
        whole, scale = rounded(table, axis=1)
        picked = self.node("Gather", [self.constant(f"{name}.int8", whole), indices], f"{name}.picked")
        scales = self.node("Gather", [self.constant(f"{name}.scale", scale), indices], f"{name}.scales")
        cast = self.node("Cast", [picked], f"{name}.cast", to=TensorProto.FLOAT)
        return self.node("Mul", [cast, scales], output)

    def model(self, *, inputs: list[str], output: str) -> bytes:
        """The whole, checked. Inputs are (batch, sequence), the output (batch, sequence, DIM)."""
        shape = ["batch", "sequence"]
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in inputs],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [*shape, DIM])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=IR_VERSION,
            producer_name="asynccache",
            doc_string="sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), converted to ONNX"
            + ("; weights rounded to 8 bits" if self._rounding else ""),
        )
        checker.check_model(model)
        content: bytes = model.SerializeToString(deterministic=True)
        return content


def build(source: dict[str, NDArray[np.float32]], *, rounding: bool) -> bytes:
    """The ONNX model: input_ids, attention_mask, token_type_ids in, last_hidden_state out."""
    graph = Graph(source, rounding=rounding)
    mask = graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    state = _embeddings(graph)
    for number in range(LAYERS):
        last = "last_hidden_state" if number == LAYERS - 1 else f"layer.{number}"
        state = _layer(graph, f"encoder.layer.{number}", state, mask=mask, output=last)
    return graph.model(inputs=["input_ids", "attention_mask", "token_type_ids"], output=state)


def _embeddings(graph: Graph) -> str:
    """Words plus positions plus segments, normalised."""
    words = graph.rows("words", graph.source["embeddings.word_embeddings.weight"], "input_ids")
    table = graph.original("embeddings.token_type_embeddings.weight")
    segments = graph.node("Gather", [table, "token_type_ids"], "segments")
    # Positions are 0, 1, 2 …: the first rows of the table, as many as the sequence is long.
    places = graph.source["embeddings.position_embeddings.weight"][:MAX_LENGTH]
    zero, one = (graph.constant(f"number.{number}", np.array([number], np.int64)) for number in (0, 1))
    length = graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    positions = graph.node("Slice", [graph.constant("places", places), zero, length, zero, one], "positions")
    placed = graph.node("Add", [segments, positions], "placed")
    inputs = [words, placed, *graph.normalisation("embeddings.LayerNorm")]
    return graph.fused("SkipLayerNormalization", inputs, "embeddings", epsilon=EPSILON)


def _layer(graph: Graph, name: str, state: str, *, mask: str, output: str) -> str:
    """Attention, then the feed-forward step, each added to its input and normalised."""
    parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
    weight = np.hstack([graph.source[f"{part}.weight"].T for part in parts])
    bias = np.concatenate([graph.source[f"{part}.bias"] for part in parts])
    inputs = [state, graph.weight(f"{name}.qkv", weight), graph.constant(f"{name}.qkv.bias", bias), mask]
    attention = graph.fused("Attention", inputs, f"{name}.attention", num_heads=HEADS)
    attended = _added(graph, f"{name}.attention.output", attention, to=state, output=f"{name}.attended")
    wide = f"{name}.intermediate.dense"
    inputs = [graph.dense(wide, attended), graph.original(f"{wide}.bias")]
    bent = graph.fused("BiasGelu", inputs, f"{wide}.gelu")
    return _added(graph, f"{name}.output", bent, to=attended, output=output)


def _added(graph: Graph, name: str, value: str, *, to: str, output: str) -> str:
    """``to`` plus a dense step of ``value``, normalised."""
    inputs = [graph.dense(f"{name}.dense", value), to, *graph.normalisation(f"{name}.LayerNorm")]
    inputs.append(graph.original(f"{name}.dense.bias"))
    return graph.fused("SkipLayerNormalization", inputs, output, epsilon=EPSILON)


def packaged(files: dict[str, bytes], *, rounding: bool) -> dict[str, bytes]:
    """Every file that is written, the manifest last."""
    lengths = {"max_length": MAX_LENGTH, "model_max_length": MAX_LENGTH}
    special = {"cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]", "sep_token": "[SEP]"}
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "unk_token": "[UNK]"}
    written = {
        "config.json": files["config.json"],
        "model.onnx": build(tensors(files[WEIGHTS]), rounding=rounding),
        "tokenizer.json": files["tokenizer.json"],
        "tokenizer_config.json": _document({**tokenizer, **special, **lengths}),
    }
    hashes = {name: digest(content) for name, content in written.items()}
    manifest = {
        "name": "all-MiniLM-L6-v2",
        "sha256": hashes["model.onnx"],
        "dim": DIM,
        "pooling": "mean",
        "max_length": MAX_LENGTH,
        "source_sha256": PINNED[WEIGHTS],
        "files": hashes,
    }
    return {**written, "manifest.json": _document(manifest)}


def _document(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("originals", type=Path, help="folder of the original model's files")
    parser.add_argument("--weights", choices=("int8", "fp32"), default="int8", help="default int8")
    parser.add_argument("--output", type=Path, default=PACKAGED, help="folder; default: the package's")
    parser.add_argument("--check", action="store_true", help="compare with the folder instead of writing")
    given = parser.parse_args()
    if given.weights == "fp32" and given.output == PACKAGED:
        parser.error("the package carries int8 weights: name another --output")
    written = packaged(originals(given.originals), rounding=given.weights == "int8")
    if given.check:
        other = [n for n, c in written.items() if digest((given.output / n).read_bytes()) != digest(c)]
        sys.exit(f"not what is built now: {', '.join(other)}" if other else None)
    given.output.mkdir(parents=True, exist_ok=True)
    for name, content in written.items():
        (given.output / name).write_bytes(content)
        print(f"{digest(content)}  {len(content):>11,}  {name}")


if __name__ == "__main__":
    main()
