"""fastembed itself, with the bundled model and copies of it, and never a network."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import orjson
import pytest

from asynccache._errors import ConfigurationError, EmbedderUnavailable, TextRefused
from asynccache.embedders import FastEmbedEmbedder
from asynccache.embedders._folder import BUNDLED

pytestmark = pytest.mark.anyio

MPNET = "sentence-transformers/paraphrase-multilingual-mpnet-base-v2"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def only_here(self: socket.socket, address: Any) -> None:
        assert not isinstance(address, tuple), f"somebody called {address[0]}"
        connect(self, address)

    def nobody(*_: object, **__: object) -> Any:
        raise AssertionError("somebody asked for an address")

    monkeypatch.setattr(socket.socket, "connect", only_here)
    monkeypatch.setattr(socket, "getaddrinfo", nobody)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the model that says nothing about itself."""
    copy = tmp_path / "my-model"
    shutil.copytree(BUNDLED, copy)
    (copy / "manifest.json").unlink()
    return copy


async def embedded(texts: list[str], *args: Any, **options: Any) -> Any:
    embedder = FastEmbedEmbedder(*args, **options)
    async with embedder.lifespan():
        return await embedder.embed(texts), embedder


async def failure(*args: Any, **options: Any) -> Exception:
    with pytest.raises(EmbedderUnavailable) as caught:
        await embedded(["a"], *args, **options)
    return caught.value


async def test_bundled_model_tells_paraphrases_from_other_questions() -> None:
    texts = ["How do I reset my password?", "I forgot my password, how can I set a new one?", "Who was Bach?"]
    vectors, embedder = await embedded(texts)
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors[0] @ vectors[1] > 0.7
    assert vectors[0] @ vectors[2] < 0.3
    assert embedder.dim == 384
    assert len(embedder.fingerprint) == 16


async def test_vector_of_a_text_does_not_depend_on_its_company() -> None:
    texts = ["a short one", "a question that is rather longer than the others here are", "a quiet one"]
    async with (embedder := FastEmbedEmbedder(memo=0)).lifespan():
        together = await embedder.embed(texts)
        alone = np.concatenate([await embedder.embed([text]) for text in texts])
        assert np.abs(together - alone).max() < 1e-5


async def test_text_over_the_window_is_refused_and_not_cut() -> None:
    async with (embedder := FastEmbedEmbedder()).lifespan():
        fits = " ".join(["word"] * 254)
        assert (await embedder.embed([fits])).shape == (1, 384)
        with pytest.raises(TextRefused, match="window of 256 tokens"):
            await embedder.embed([fits + " word"])


@pytest.mark.parametrize("text", ["What does 嘚瑟 mean?", "x" * 101, "hi 😀", "\u200b"])
async def test_text_whose_vector_would_be_that_of_others_is_refused(text: str) -> None:
    async with (embedder := FastEmbedEmbedder()).lifespan():
        with pytest.raises(TextRefused):
            await embedder.embed([text])


async def test_sixty_four_callers_get_what_each_would_get_alone() -> None:
    texts = [f"question {number} about " + "the thing " * (number % 5) for number in range(64)]
    async with (embedder := FastEmbedEmbedder(memo=0)).lifespan():
        together = await asyncio.gather(*(embedder.embed([text]) for text in texts))
        alone = [await embedder.embed([text]) for text in texts]
        assert max(np.abs(a - b).max() for a, b in zip(together, alone, strict=True)) < 1e-5


async def test_fingerprint_is_of_the_model_and_not_of_its_folder(folder: Path) -> None:
    _, bundled = await embedded(["a"])
    shutil.copy(BUNDLED / "manifest.json", folder)
    _, copied = await embedded(["a"], path=folder)
    assert copied.fingerprint == bundled.fingerprint
    config = orjson.loads((folder / "tokenizer_config.json").read_bytes())
    config["max_length"] = 128
    (folder / "tokenizer_config.json").write_bytes(orjson.dumps(config))
    _, shorter = await embedded(["a"], path=folder)
    assert shorter.fingerprint != bundled.fingerprint


async def test_folder_without_a_word_about_pooling_is_pooled_by_the_mean(folder: Path) -> None:
    bundled, _ = await embedded(["some text"])
    vectors, embedder = await embedded(["some text"], str(folder))
    assert np.abs(vectors - bundled).max() < 1e-6
    assert embedder.name == "my-model"


async def test_folder_says_how_its_model_pools(folder: Path) -> None:
    mean, _ = await embedded(["some text"], path=folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    first, _ = await embedded(["some text"], path=folder)
    assert first.shape == mean.shape
    assert np.abs(first - mean).max() > 0.01
    assert abs(np.linalg.norm(first) - 1) < 1e-6


async def test_name_that_fastembed_knows_is_loaded_from_a_folder_as_fastembed_would(folder: Path) -> None:
    bundled, _ = await embedded(["some text"])
    vectors, embedder = await embedded(["some text"], "sentence-transformers/all-MiniLM-L6-v2", path=folder)
    assert np.abs(vectors - bundled).max() < 1e-6
    assert embedder.name == "sentence-transformers/all-MiniLM-L6-v2"


async def test_model_that_fastembed_does_not_normalise_is_normalised(folder: Path) -> None:
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")  # where fastembed expects this model's
    vectors, _ = await embedded(["some text"], MPNET, path=folder)
    assert abs(np.linalg.norm(vectors) - 1) < 1e-6


async def test_damaged_weights_are_not_used(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"sha256": "00"}')
    assert "manifest" in str(await failure(path=folder))


@pytest.mark.parametrize("missing", ["model.onnx", "tokenizer.json", "tokenizer_config.json"])
async def test_file_missing_in_a_folder_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    assert missing in str(await failure(path=folder))


async def test_broken_weights_are_a_failure_and_no_crash(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"not a model")
    assert "could not be loaded" in str(await failure(path=folder))


async def test_unknown_way_of_pooling_is_a_failure(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"pooling": "max"}')
    assert "'max'" in str(await failure(path=folder))


async def test_failure_to_load_is_told_by_its_kind_and_not_in_foreign_words(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("a secret")
    error = await failure(path=folder)
    assert error.__cause__ is not None
    assert str(error) == f"model 'my-model' could not be loaded ({type(error.__cause__).__name__})"


async def test_lone_text_is_read_once_and_gets_the_vector_it_has_in_company() -> None:
    async with (embedder := FastEmbedEmbedder(memo=0)).lifespan():
        await embedder.ready()
        assert embedder._session is not None
        loaded: Any = embedder._session._model
        read: list[list[str]] = []
        tokenize = loaded._tokenize

        def counted(texts: list[str], **options: Any) -> Any:
            read.append(texts)
            return tokenize(texts, **options)

        loaded._tokenize = counted
        alone = await embedder.embed(["some text"])
        assert read == []
        other = await embedder.embed(["other text"])
        together = await embedder.embed(["some text", "other text"])
        assert len(read) == 1
        assert np.abs(together - np.concatenate([alone, other])).max() < 1e-5


@pytest.mark.filterwarnings("ignore:.*static model:UserWarning")  # fastembed's, about the threads
async def test_model_without_a_network_is_loaded_as_well(folder: Path) -> None:
    tokenizer = orjson.loads((folder / "tokenizer.json").read_bytes())
    rows = np.random.default_rng(1).standard_normal((len(tokenizer["model"]["vocab"]), 4), np.float32)
    about = {"dtype": "F32", "shape": rows.shape, "data_offsets": [0, rows.nbytes]}
    header = orjson.dumps({"embeddings": about})
    weights = len(header).to_bytes(8, "little") + header + rows.tobytes()
    (folder / "model.safetensors").write_bytes(weights)
    vectors, _ = await embedded(["some text", "text"], "minishlab/potion-base-8M", path=folder)
    assert vectors.shape == (2, 4)


async def test_model_that_is_not_there_fails_at_once_and_says_what_to_do(tmp_path: Path) -> None:
    with anyio.fail_after(5):
        error = await failure(MPNET, cache_dir=tmp_path)
    assert "download=True" in str(error)
    assert str(tmp_path) in str(error)


def test_model_that_is_not_there_leaves_nothing_on_the_terminal(tmp_path: Path) -> None:
    script = f"""
import asyncio
from asynccache._errors import EmbedderUnavailable
from asynccache.embedders import FastEmbedEmbedder
async def main():
    async with (embedder := FastEmbedEmbedder({MPNET!r}, cache_dir={str(tmp_path)!r})).lifespan():
        try:
            await embedder.embed(["a"])
        except EmbedderUnavailable:
            print("unavailable")
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("unavailable\n", "")


async def test_model_nobody_knows_is_a_failure(tmp_path: Path) -> None:
    assert "nobody/knows" in str(await failure("nobody/knows", cache_dir=tmp_path))


async def test_download_happens_only_when_asked_for_and_in_a_thread_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    class Fetching:
        def __init__(self, name: str, **options: Any) -> None:
            fetched.append(name)
            raise ValueError("no network here")

    embedder = FastEmbedEmbedder(MPNET, cache_dir=tmp_path, download=True)
    engine: Any = embedder._engine
    load = engine.load

    def load_then_replace() -> Any:
        try:
            return load()
        finally:
            monkeypatch.setattr("fastembed.TextEmbedding", Fetching)

    engine.load = load_then_replace
    async with embedder.lifespan():
        with pytest.raises(EmbedderUnavailable, match="could not be downloaded"):
            await embedder.ready()
    assert fetched == [MPNET]


@pytest.mark.parametrize("missing", ["fastembed", "loguru", "numpy"])
async def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert 'pip install "asynccache[semantic]"' in str(await failure())


def test_naming_an_embedder_imports_nothing_heavy() -> None:
    script = (
        "import sys; from asynccache.embedders import as_embedder; as_embedder('default'); "
        "print({'fastembed', 'numpy', 'onnxruntime', 'httpx2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0},
        {"max_batch": 0},
        {"queue": 0},
        {"memo": -1},
        {"download": True, "download_timeout": 0, "model": "a/b"},
        {"path": "/no/such/folder"},
        {"model": ""},
    ],
)
def test_option_that_cannot_work_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        FastEmbedEmbedder(**options)
    assert any(str(caught.value).startswith(f"{name}:") for name in options)
