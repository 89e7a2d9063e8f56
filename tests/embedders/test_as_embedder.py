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


def test_plain_async_function_goes_by_its_place_in_its_file() -> None:
    assert as_embedder(my_vectors).name == as_embedder(my_vectors).name
    assert as_embedder(my_vectors).name.endswith("test_as_embedder.py:my_vectors")


def closure(model: str) -> Any:
    async def vectors(texts: list[str]) -> list[list[float]]:
        return [[float(len(model))] for _ in texts]

    return vectors


def no_closure(model: str) -> Any:
    async def vectors(texts: list[str], model: str = model) -> list[list[float]]:
        return [[float(len(model))] for _ in texts]

    return vectors


def typed_into_a_terminal(model: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(compile(f"async def vectors(texts): return [[{len(model)}.0]]", "<stdin>", "exec"), namespace)
    return namespace["vectors"]


@pytest.mark.parametrize(
    "make",
    [
        closure,
        no_closure,
        typed_into_a_terminal,
        lambda _: MyVectors(),
        lambda _: MyVectors().__call__,
    ],
    ids=["closure", "no closure", "typed in", "object", "bound method"],
)
def test_functions_that_their_names_do_not_tell_apart_share_no_name(make: Any) -> None:
    assert as_embedder(make("a")).name != as_embedder(make("bb")).name


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
