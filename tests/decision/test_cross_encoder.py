"""The verifier that runs a cross-encoder, with fastembed itself and a model of two kilobytes.

The model in ``data/cross-encoder`` has the score 5 minus the number of words that only one of the two texts
has. It was made by this script, with the packages numpy and onnx:

    import json
    from pathlib import Path
    import numpy as np
    import onnx
    from onnx import TensorProto as T, helper as h, numpy_helper as nh

    folder = Path("tests/decision/data/cross-encoder")
    words = "how do i open close an account 10 20 km in miles paris london".split()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
    table = np.zeros((len(vocabulary), len(words)), np.float32)
    table[4:] = np.eye(len(words))  # special tokens count nothing, and each word for itself
    nodes = [
        h.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        h.make_node("Cast", ["token_type_ids"], ["types"], to=T.FLOAT),
        h.make_node("Mul", ["types", "two"], ["twice"]),
        h.make_node("Sub", ["one", "twice"], ["signs"]),  # 1 for the first text, -1 for the second
        h.make_node("Unsqueeze", ["signs", "last"], ["wide"]),
        h.make_node("Mul", ["vectors", "wide"], ["signed"]),
        h.make_node("ReduceSum", ["signed", "middle"], ["bags"], keepdims=0),
        h.make_node("Abs", ["bags"], ["distances"]),
        h.make_node("ReduceSum", ["distances", "middle"], ["distance"], keepdims=1),
        h.make_node("Sub", ["five", "distance"], ["logits"]),
    ]
    held = [nh.from_array(np.float32(value), name) for name, value in (("one", 1), ("two", 2), ("five", 5))]
    held += [nh.from_array(np.array([at]), name) for name, at in (("last", -1), ("middle", 1))]
    names = ("input_ids", "token_type_ids")
    inputs = [h.make_tensor_value_info(name, T.INT64, ["batch", "length"]) for name in names]
    logits = h.make_tensor_value_info("logits", T.FLOAT, ["batch", 1])
    graph = h.make_graph(nodes, "tiny", inputs, [logits], [nh.from_array(table, "table"), *held])
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    special = {"special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": at, "content": token, **special} for at, token in enumerate(vocabulary[:4])],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "model": {
            "type": "WordLevel",
            "vocab": {token: at for at, token in enumerate(vocabulary)},
            "unk_token": "[UNK]",
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 32, "pad_token": "[PAD]"}))
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from asynccache import ConfigurationError
from asynccache.decision.cross_encoder import CrossEncoderVerifier
from asynccache.testing import FakeClock

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parent / "data" / "cross-encoder"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object, **__: object) -> Any:
        raise AssertionError("somebody asked for an address")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the model, to be changed."""
    copy = tmp_path / "model"
    shutil.copytree(FOLDER, copy)
    return copy


@pytest.mark.parametrize(
    ("asked", "stored", "verdict"),
    [
        ("how do I open an account", "How do I open an account", True),
        ("open an account", "an account open", True),
        ("open an account", "close an account", False),
        ("10 km in miles", "20 km in miles", False),
    ],
)
async def test_score_from_the_threshold_on_is_a_yes(asked: str, stored: str, verdict: bool) -> None:
    verify = CrossEncoderVerifier(FOLDER, threshold=5.0)
    assert await verify(asked, stored, "not read") is verdict
    assert verify.trouble is None


async def test_lower_score_of_both_ways_round_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    verify = CrossEncoderVerifier(FOLDER, threshold=0.5)
    assert await verify("paris", "london", "") is True
    assert verify._model is not None
    scores = {("paris", "london"): 0.9, ("london", "paris"): 0.1}

    def rerank_pairs(pairs: list[tuple[str, str]], **_: object) -> list[float]:
        return [scores[pair] for pair in pairs]

    monkeypatch.setattr(verify._model._encoder, "rerank_pairs", rerank_pairs)
    assert await verify("paris", "london", "") is False
    assert await verify("london", "paris", "") is False
    scores[("london", "paris")] = 0.6
    assert await verify("paris", "london", "") is True
    scores[("london", "paris")] = float("nan")
    assert await verify("paris", "london", "") is None
    assert verify.trouble == "the model gave no number"


async def test_text_that_the_model_does_not_read_whole_gets_no_verdict() -> None:
    verify = CrossEncoderVerifier(FOLDER, threshold=0.0)
    assert await verify("paris", "rome", "") is None
    assert verify.trouble == "a question holds words or signs the model does not know"
    assert await verify("paris " * 40, "paris " * 40, "") is None
    assert verify.trouble == "the questions are longer than the model's window"


async def test_verdict_is_made_in_a_thread_one_at_a_time() -> None:
    verify = CrossEncoderVerifier(FOLDER, threshold=5.0)
    await verify("paris", "paris", "")
    assert verify._model is not None
    encoder = verify._model._encoder
    running: list[int] = []
    most = 0

    class Watched:
        def rerank_pairs(self, pairs: Any, **options: Any) -> Any:
            nonlocal most
            assert threading.current_thread() is not threading.main_thread()
            running.append(1)
            most = max(most, len(running))
            threading.Event().wait(0.01)
            running.pop()
            return encoder.rerank_pairs(pairs, **options)

    verify._model._encoder = Watched()  # type: ignore[misc]  # a spy around the real one
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(verify, "paris", "paris", "")
    assert most == 1


async def test_weights_may_lie_where_exporters_put_them(folder: Path) -> None:
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    verify = CrossEncoderVerifier(str(folder), threshold=5.0)
    assert await verify("paris", "paris", "") is True


async def test_model_that_cannot_be_loaded_is_no_verdict_and_is_tried_again_later(folder: Path) -> None:
    clock = FakeClock()
    weights = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(b"no model")
    verify = CrossEncoderVerifier(folder, threshold=5.0, clock=clock)
    assert await verify("paris", "paris", "") is None
    assert verify.trouble is not None
    assert verify.trouble.startswith("the model could not be loaded (")
    (folder / "model.onnx").write_bytes(weights)
    assert await verify("paris", "paris", "") is None
    clock.advance(30.0)
    assert await verify("paris", "paris", "") is True


async def test_folder_without_a_model_says_what_was_expected(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    verify = CrossEncoderVerifier(folder, threshold=5.0)
    assert await verify("paris", "paris", "") is None
    assert verify.trouble == "no model in the folder: expected model.onnx or onnx/model.onnx"


@pytest.mark.parametrize("name", ["Xenova/ms-marco-MiniLM-L-6-v2", "nobody/knows-this"])
async def test_nothing_is_downloaded_unasked(name: str, tmp_path: Path) -> None:
    verify = CrossEncoderVerifier(name, threshold=0.0, cache_dir=tmp_path)
    assert await verify("a", "b", "") is None
    assert verify.trouble == "the model could not be loaded (ValueError)"
    assert not any(name.endswith(".onnx") for _, _, names in os.walk(tmp_path) for name in names)


async def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastembed.rerank.cross_encoder", None)
    verify = CrossEncoderVerifier(FOLDER, threshold=0.0)
    assert await verify("paris", "paris", "") is None
    assert verify.trouble is not None
    assert 'pip install "asynccache[semantic]"' in verify.trouble


async def test_failure_of_the_model_is_no_verdict() -> None:
    verify = CrossEncoderVerifier(FOLDER, threshold=0.0)
    assert await verify("paris", "paris", "") is True
    assert verify._model is not None

    class Panics:
        def rerank_pairs(self, *_: Any, **__: Any) -> Any:
            raise BaseException("paris")  # noqa: TRY002  (what a panic of compiled code is)

    verify._model._encoder = Panics()  # type: ignore[misc]  # in place of the real one
    assert await verify("paris", "paris", "") is None
    assert verify.trouble == "the model failed (BaseException)"


@pytest.mark.parametrize(
    ("model", "threshold", "problem"),
    [
        ("", 0.0, "model"),
        ("./no-such-folder", 0.0, "not a folder"),
        (Path("no-such-folder"), 0.0, "not a folder"),
        (FOLDER, float("nan"), "threshold"),
        (FOLDER, "high", "threshold"),
    ],
)
async def test_option_that_cannot_work_is_refused(model: Any, threshold: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        CrossEncoderVerifier(model, threshold=threshold)
