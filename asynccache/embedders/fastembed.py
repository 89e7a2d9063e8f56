"""The embedder that runs a model on this machine, with fastembed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import platformdirs

from asynccache._errors import ConfigurationError, EmbedderError, EmbedderUnavailable
from asynccache.embedders._engine import Facts, ModelMissing
from asynccache.embedders._folder import BUNDLED, BUNDLED_NAME, FolderModel, digest_of, read_folder
from asynccache.embedders._options import checked_number
from asynccache.embedders._rows import not_installed
from asynccache.embedders._threaded import ThreadedEmbedder

if TYPE_CHECKING:
    from fastembed import TextEmbedding
    from numpy.typing import NDArray
    from tokenizers import Encoding

    from asynccache._protocols import Clock

__all__ = ["FastEmbedEmbedder"]

_REGISTERING: Final = threading.Lock()
"""Held from the look whether fastembed knows a model to telling it: its list belongs to the whole process."""


class FastEmbedEmbedder(ThreadedEmbedder):
    """Embeds on this machine, in one thread. Use inside ``lifespan()``; a pipeline does that.

    Nothing is downloaded unless ``download`` says so. Texts that come in while the thread is busy are
    computed together, up to ``max_batch`` of similar length. A text whose vector would not be its own is
    refused: it is longer than the model's window, or holds signs the model does not know. A model that
    could not be loaded is tried again 30 seconds later.

    Args:
        model: ``"default"`` for the model that comes with this package (all-MiniLM-L6-v2: English, 384
            numbers, 256 tokens); the name of a model fastembed knows, such as
            ``"sentence-transformers/paraphrase-multilingual-mpnet-base-v2"``; or a folder.
        path: folder with the model's files: ``model.onnx`` or ``onnx/model.onnx``, ``tokenizer.json`` and
            ``tokenizer_config.json``. A ``manifest.json`` or ``1_Pooling/config.json`` says how to pool;
            default mean. None finds the model by its name.
        cache_dir: where models fetched by name are kept, as fastembed keeps them. None takes
            ``FASTEMBED_CACHE_PATH``, or a folder in the user's cache directory.
        download: fetch a model that is not there, in the background; until it is, ``embed`` raises.
        download_timeout: seconds after which ``embed`` says that the download failed. Default 600.
        threads: of onnxruntime, for one batch. Default 1; more starve the event loop on small machines.
        max_batch: texts computed together. Default 8.
        queue: texts waiting or being computed at once; callers beyond it wait for room. Default 1024.
        memo: texts whose vectors are remembered, 2 to 8 KiB each; 0 remembers none. Default 10000.
        clock: default None takes the machine's.

    Raises:
        ConfigurationError: an option cannot work. What is not installed is said by ``embed``.
    """

    def __init__(
        self,
        model: str = "default",
        *,
        path: str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        download: bool = False,
        download_timeout: float = 600.0,
        threads: int = 1,
        max_batch: int = 8,
        queue: int = 1024,
        memo: int = 10_000,
        clock: Clock | None = None,
    ) -> None:
        place = _found(model, path)
        super().__init__(
            _FastEmbed(
                place,
                cache_dir=None if cache_dir is None else Path(cache_dir),
                threads=checked_number("threads", threads, least=1),
            ),
            name=place.name,
            max_batch=max_batch,
            queue=queue,
            memo=memo,
            download_timeout=download_timeout if download and place.folder is None else None,
            clock=clock,
        )


class _Place(NamedTuple):
    """Where a model is to be looked for."""

    name: str
    named: bool
    """Whether the name is one the user gave a model, and not just a folder's."""
    folder: Path | None
    """None: where fastembed keeps the models it has fetched."""


def _found(model: str, path: str | os.PathLike[str] | None) -> _Place:
    if not isinstance(model, str) or not model:
        raise ConfigurationError(f"model: expected a name or a folder, got {model!r}")
    if path is not None:
        folder = Path(path)
        if not folder.is_dir():
            raise ConfigurationError(f"path: {str(folder)!r} is not a folder")
        return _Place(folder.resolve().name if model == "default" else model, model != "default", folder)
    if model in {"default", BUNDLED_NAME}:
        return _Place(BUNDLED_NAME, named=False, folder=BUNDLED)
    folder = Path(model)
    if folder.is_dir():
        return _Place(folder.resolve().name, named=False, folder=folder)
    return _Place(model, named=True, folder=None)


class _FastEmbed:
    """Loads models with fastembed, in whichever thread asks."""

    def __init__(self, place: _Place, *, cache_dir: Path | None, threads: int) -> None:
        self._place: Final = place
        self._cache_dir: Final = cache_dir
        self._threads: Final = threads

    def load(self) -> _Loaded:
        name, _, folder = self._place
        try:
            with _silence():
                return self._known() if folder is None or self._is_known() else self._from(folder)
        except EmbedderError:
            raise
        except ImportError as error:
            raise not_installed(error) from error
        except Exception as error:
            raise EmbedderUnavailable(
                f"model {name!r} could not be loaded ({type(error).__name__})"
            ) from error

    def download(self) -> None:
        from fastembed import TextEmbedding

        name = self._place.name
        try:
            with _silence():
                TextEmbedding(name, cache_dir=self._models(), lazy_load=True)
        except Exception as error:
            raise EmbedderUnavailable(
                f"model {name!r} could not be downloaded ({type(error).__name__})"
            ) from error

    def _is_known(self) -> bool:
        return self._place.named and self._place.name.lower() in _known_names()

    def _known(self) -> _Loaded:
        """A model fastembed has a description of, wherever its files are."""
        from fastembed import TextEmbedding

        name, _, folder = self._place
        if not self._is_known():
            raise EmbedderUnavailable(
                f"fastembed knows no model {name!r} (fastembed.TextEmbedding.list_supported_models() lists "
                "those it knows); a folder with the model's files can be given as path"
            )
        models = self._models()
        try:
            embedding = TextEmbedding(
                name,
                cache_dir=models,
                threads=self._threads,
                lazy_load=True,
                local_files_only=True,  # else it would try the network for most of a minute
                specific_model_path=None if folder is None else str(folder),
            )
        except ValueError as error:
            raise ModelMissing(
                f"model {name!r} is not in {models}; let it be fetched once with download=True, "
                "or give a folder with its files as path"
            ) from error
        return _Loaded(embedding, name, pooling=type(embedding.model).__name__, digest=None)

    def _from(self, folder: Path) -> _Loaded:
        """A model that is described by its folder."""
        from fastembed import TextEmbedding

        found = read_folder(folder)
        embedding = TextEmbedding(
            _described(found),
            cache_dir=str(folder),  # not used, but made if it does not exist
            threads=self._threads,
            lazy_load=True,
            specific_model_path=str(folder),
        )
        name = self._place.name if self._place.named else found.name
        return _Loaded(embedding, name, pooling=found.pooling, digest=found.digest)

    def _models(self) -> str:
        given = self._cache_dir or os.environ.get("FASTEMBED_CACHE_PATH")
        return str(given or platformdirs.user_cache_path("asynccache", appauthor=False) / "models")


class _Loaded:
    """A model in memory. Made by the thread that uses it."""

    def __init__(self, embedding: TextEmbedding, name: str, *, pooling: str, digest: str | None) -> None:
        self._embedding: Final = embedding
        vectors = self.embed(["to load the weights and to see the length of a vector"])
        inner: Any = embedding.model  # its base class declares none of what follows
        self._tokenizer: Final = inner.tokenizer
        self._read: tuple[str, Encoding] | None = None  # the text whose refusal was asked for last
        self._tokenize: Final[Any] = getattr(inner, "tokenize", None)  # a model without a network has none
        if self._tokenize is not None and self._reads_alike():
            inner.tokenize = self._tokenized
        self._unknown: Final = self._tokenizer.token_to_id(
            getattr(self._tokenizer.model, "unk_token", None) or "<unk>"
        )
        truncation = self._tokenizer.truncation
        file = Path(inner._model_dir) / inner.model_description.model_file  # noqa: SLF001  (nowhere else said)
        found = digest_of(file)
        if digest is not None and digest != found:
            raise EmbedderUnavailable(f"{file} is not the file its manifest.json describes (SHA-256)")
        self.facts: Final = Facts(
            name=name,
            digest=found,
            dim=vectors.shape[1],
            pooling=pooling,
            window=None if truncation is None else truncation["max_length"],
        )

    def _reads_alike(self) -> bool:
        """Whether the model reads a text as its tokenizer does, with nothing put before it."""
        text = "to see how a text is read"
        [theirs], own = self._tokenize([text]), self._tokenizer.encode(text)
        return bool(theirs.ids == own.ids and theirs.attention_mask == own.attention_mask)

    def _tokenized(self, texts: list[str], **options: Any) -> list[Encoding]:
        # A lone text was read a moment ago, to see whether it is refused. In company it would be padded.
        if self._read is not None and texts == [self._read[0]]:
            return [self._read[1]]
        found: list[Encoding] = self._tokenize(texts, **options)
        return found

    def refusals(self, texts: Sequence[str]) -> list[str | None]:
        if len(texts) == 1:
            self._read = texts[0], self._tokenizer.encode(texts[0])
            return [self._refusal(self._read[1])]
        return [self._refusal(self._tokenizer.encode(text)) for text in texts]

    def _refusal(self, encoding: Encoding) -> str | None:
        if encoding.overflowing:  # what fastembed cuts off, and says nothing
            return self.facts.too_long
        if self._unknown in encoding.ids:  # all that a model does not know is one and the same to it
            return "the text holds words or signs the model does not know"
        if all(encoding.special_tokens_mask):
            return "the text is empty to the model"
        return None

    def embed(self, texts: Sequence[str]) -> NDArray[Any]:
        import numpy as np

        # A generator: nothing is computed before it is asked.
        rows = list(self._embedding.embed(list(texts), batch_size=len(texts)))
        return rows[0][np.newaxis] if len(rows) == 1 else np.stack(rows)


def _known_names() -> set[str]:
    from fastembed import TextEmbedding

    return {description["model"].lower() for description in TextEmbedding.list_supported_models()}


def _described(found: FolderModel) -> str:
    """The name under which fastembed knows models that pool like this one and are in a file of that name."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    name = f"asynccache/{found.pooling}/{found.file}"
    pooling = {"mean": PoolingType.MEAN, "cls": PoolingType.CLS, "last_token": PoolingType.LAST_TOKEN}
    with _REGISTERING:
        if name.lower() not in _known_names():
            TextEmbedding.add_custom_model(
                name,
                pooling=pooling.get(found.pooling, PoolingType.DISABLED),
                normalization=False,  # done here, for all models
                sources=ModelSource(hf="nobody/nowhere"),  # it insists on one; nothing is fetched
                dim=0,  # the same; what counts is the vector it gives
                model_file=found.file,
            )
    return name


@contextmanager
def _silence() -> Iterator[None]:
    """Keep fastembed's words about errors, which are raised as well, off the terminal."""
    from loguru import logger

    logger.disable("fastembed")
    try:
        yield
    finally:
        logger.enable("fastembed")
