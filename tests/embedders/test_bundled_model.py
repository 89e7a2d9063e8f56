"""The model that the package carries: its files, and the vectors that come out of it."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from fastembed import TextEmbedding
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "asynccache" / "embedders" / "models" / "all-MiniLM-L6-v2"
DATA = Path(__file__).parent / "data"

SENTENCES: list[str] = json.loads((DATA / "sentences.json").read_text(encoding="utf-8"))

Vectors = NDArray[np.float32]


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MODEL / "manifest.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextEmbedding:
    """fastembed, given the folder and an empty cache, on a machine whose network is off."""

    def refused(*_: object) -> NoReturn:
        pytest.fail("the network was asked for")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", refused)
        patch.setattr(socket.socket, "connect", refused)
        return TextEmbedding(
            "sentence-transformers/all-MiniLM-L6-v2",
            cache_dir=str(tmp_path_factory.mktemp("cache")),
            specific_model_path=str(MODEL),
            threads=1,
        )


@pytest.fixture(scope="module")
def vectors(model: TextEmbedding) -> Vectors:
    """Of the sentences, each embedded alone."""
    return embedded(model, SENTENCES, batch=1)


def embedded(model: TextEmbedding, texts: list[str], *, batch: int) -> Vectors:
    return np.array(list(model.embed(texts, batch_size=batch)), dtype=np.float32)


def committed(name: str) -> Vectors:
    return np.load(DATA / name, allow_pickle=False).astype(np.float32)  # type: ignore[no-any-return]  # numpy's


def test_files_are_the_ones_the_manifest_names(manifest: dict[str, Any]) -> None:
    found = {name: hashlib.sha256((MODEL / name).read_bytes()).hexdigest() for name in manifest["files"]}
    assert found == manifest["files"]
    assert manifest["sha256"] == found["model.onnx"]


def test_folder_holds_no_file_that_nobody_answers_for(manifest: dict[str, Any]) -> None:
    assert {path.name for path in MODEL.iterdir()} == {
        *manifest["files"],
        "LICENSE",
        "README.md",
        "manifest.json",
    }


def test_manifest_says_what_the_model_does(manifest: dict[str, Any], vectors: Vectors) -> None:
    settings = json.loads((MODEL / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert manifest["name"] == MODEL.name
    assert manifest["dim"] == vectors.shape[1]
    assert manifest["pooling"] == "mean"
    assert manifest["max_length"] == settings["max_length"] == settings["model_max_length"] == 256


def test_vectors_are_the_ones_that_were_committed(vectors: Vectors) -> None:
    assert len(SENTENCES) == len(set(SENTENCES)) == 50
    np.testing.assert_allclose(vectors, committed("bundled.npy"), rtol=0, atol=1e-4)


def test_rounded_weights_stay_close_to_the_original(vectors: Vectors) -> None:
    original = committed("original.npy")
    cosines = (vectors * original).sum(axis=1) / np.linalg.norm(original, axis=1)
    assert cosines.min() >= 0.998
    assert cosines.mean() >= 0.9995


def test_vectors_are_of_norm_one(vectors: Vectors) -> None:
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [2, 8, 50])
def test_vector_does_not_depend_on_the_rest_of_its_batch(
    model: TextEmbedding, vectors: Vectors, batch: int
) -> None:
    # A walk through the sentences in steps of 19 puts short and long ones side by side.
    order = [19 * place % len(SENTENCES) for place in range(len(SENTENCES))]
    together = embedded(model, [SENTENCES[index] for index in order], batch=batch)
    np.testing.assert_allclose(together, vectors[order], rtol=0, atol=1e-5)


def test_sentences_reach_well_beyond_a_short_question(model: TextEmbedding) -> None:
    lengths = [model.token_count([sentence]) for sentence in SENTENCES]
    assert sum(length > 64 for length in lengths) >= 5
    assert min(lengths) == 3  # one token between the two that mark beginning and end


def test_text_is_cut_at_256_tokens(model: TextEmbedding) -> None:
    assert model.token_count(["word " * 400]) == 256
    whole, cut, shorter = embedded(model, ["word " * 400, "word " * 254, "word " * 253], batch=1)
    np.testing.assert_array_equal(whole, cut)
    assert not np.array_equal(cut, shorter)
