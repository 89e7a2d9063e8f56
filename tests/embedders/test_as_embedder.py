"""What a user may name an embedder by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asynccache._errors import ConfigurationError
from asynccache.embedders import CallableEmbedder, FastEmbedEmbedder, UpstreamEmbedder, as_embedder
from asynccache.testing import FakeEmbedder


async def my_vectors(texts: list[str]) -> list[list[float]]:
    return [[1.0] for _ in texts]


class MyVectors:
    async def __call__(self, texts: list[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]


def test_default_is_the_bundled_model() -> None:
    embedder = as_embedder("default")
    assert isinstance(embedder, FastEmbedEmbedder)
    assert embedder.name == "all-MiniLM-L6-v2"


def test_model_is_named_as_fastembed_names_it() -> None:
    assert as_embedder("BAAI/bge-small-en-v1.5").name == "BAAI/bge-small-en-v1.5"


def test_folder_is_named_by_a_path_or_a_string(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    assert as_embedder(folder).name == as_embedder(str(folder)).name == "my-model"


def test_object_with_embed_is_taken_as_it_is() -> None:
    for embedder in (
        FakeEmbedder(),
        CallableEmbedder(my_vectors, name="x"),
        UpstreamEmbedder("http://a/v1", "m"),
    ):
        assert as_embedder(embedder) is embedder


def test_async_function_goes_by_its_own_name() -> None:
    assert as_embedder(my_vectors).name.endswith("my_vectors")
    assert as_embedder(MyVectors()).name.endswith("MyVectors")


class Nameless:
    dim = 3

    async def embed(self, texts: Any) -> Any: ...


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "NoneType"),
        ("", "model"),
        ("/no/such/folder", "not a folder"),
        (Path("no-such-folder"), "not a folder"),
        ("http://host/v1", "UpstreamEmbedder"),
        (FakeEmbedder, "the class FakeEmbedder"),
        (lambda texts: texts, "not async"),
        (3, "int"),
        (Nameless(), "name"),
    ],
)
def test_anything_else_is_turned_away_with_what_is_wrong(given: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        as_embedder(given)
