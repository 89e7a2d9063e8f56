"""A verifier that runs a cross-encoder on this machine, with fastembed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import platformdirs
from anyio import to_thread

from asynccache._clock import SystemClock
from asynccache._errors import ConfigurationError
from asynccache.decision._checked import checked_number

if TYPE_CHECKING:
    from tokenizers import Encoding

    from asynccache._protocols import Clock

__all__ = ["CrossEncoderVerifier"]

_FILES: Final = ("model.onnx", "onnx/model.onnx")
"""Where exporters put the weights."""
_RESPITE: Final = 30.0
"""Seconds after which a model that could not be loaded is tried again."""
_REGISTERING: Final = threading.Lock()
"""Held from the look whether fastembed knows a file to telling it: its list belongs to the whole process."""


class _Unusable(Exception):
    """Why there is no verdict, in words that may be told."""


class CrossEncoderVerifier:
    """Reads both questions together with a model that says how well they belong together.

    It must be one that tells questions with the same meaning (such as those trained on question pairs); one
    that ranks passages for a query calls a near question relevant, whatever its number or negation. The
    pair is read both ways round, and the lower score counts. The stored answer is not read.

    One thread, loaded when first asked; 5 to 10 ms a verdict for a model of the size of MiniLM-L6. Says None
    when there is no verdict, and ``trouble`` tells why: no model, a failure of it, or a text that is longer
    than its window or holds signs it does not know. It raises nothing.

    Args:
        model: a folder with ``model.onnx`` or ``onnx/model.onnx``, ``tokenizer.json`` and
            ``tokenizer_config.json``; or the name of a model that ``fastembed.rerank.cross_encoder`` knows.
        threshold: least score of a yes, in the model's own unit (log odds for most). There is no default:
            measure it for the model.
        cache_dir: where models fetched by name are kept, as fastembed keeps them. None takes
            ``FASTEMBED_CACHE_PATH``, or a folder in the user's cache directory.
        download: fetch a model that is not there, in the thread; nothing is verified until it is. Default
            False: nothing is downloaded.
        clock: default None takes the machine's.

    Raises:
        ConfigurationError: an option cannot work. What is not installed is said by ``trouble``.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        threshold: float,
        cache_dir: str | os.PathLike[str] | None = None,
        download: bool = False,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(model, (str, os.PathLike)) or not str(model):
            raise ConfigurationError(f"model: expected a name or a folder, got {model!r}")
        folder = Path(model).expanduser()
        named = isinstance(model, str) and not model.startswith((".", "/", "~"))
        if not folder.is_dir() and not named:
            raise ConfigurationError(f"model: {str(folder)!r} is not a folder")
        self._folder: Final = folder if folder.is_dir() else None
        self._name: Final = str(model)
        self._threshold: Final = checked_number("threshold", threshold)
        self._cache_dir: Final = cache_dir
        self._download: Final = download
        self._clock: Final = SystemClock() if clock is None else clock
        # Of its own, so that verdicts wait for nobody else's work. Below: changed by its one thread only.
        self._thread: Final = anyio.CapacityLimiter(1)
        self._model: _Model | None = None
        self._again = -float("inf")  # when to try to load once more, monotonic seconds
        self.trouble: str | None = None
        """Why it could not tell, the last time that it could not."""

    async def __call__(self, asked: str, stored_question: str, stored_answer: str, /) -> bool | None:
        """True: the questions mean the same. False: they do not. None: cannot tell.

        A verdict that has begun is not left alone by a cancellation: its thread ends first.
        """
        del stored_answer
        return await to_thread.run_sync(self._verdict, asked, stored_question, limiter=self._thread)

    def _verdict(self, asked: str, stored: str) -> bool | None:
        try:
            there, back = self._loaded().scores(asked, stored)
        except _Unusable as error:
            self.trouble = str(error)
        except BaseException as error:  # noqa: BLE001  (panics of compiled code are no Exception)
            self.trouble = f"the model failed ({type(error).__name__})"
        else:
            if isfinite(there) and isfinite(back):
                return min(there, back) >= self._threshold
            self.trouble = "the model gave no number"
        return None

    def _loaded(self) -> _Model:
        if self._model is None:
            now = self._clock.monotonic()
            if now < self._again:
                raise _Unusable(self.trouble or "the model could not be loaded")
            self._again = now + _RESPITE
            try:
                with _silence():
                    self._model = self._load()
            except _Unusable:
                raise
            except ImportError as error:
                raise _Unusable(f'it needs {error.name}; pip install "asynccache[semantic]"') from error
            except Exception as error:
                raise _Unusable(f"the model could not be loaded ({type(error).__name__})") from error
        return self._model

    def _load(self) -> _Model:
        from fastembed.rerank.cross_encoder import TextCrossEncoder

        if self._folder is not None:
            name = _described(self._folder)
            return _Model(TextCrossEncoder(name, threads=1, specific_model_path=str(self._folder)))
        cache_dir = self._cache_dir or os.environ.get("FASTEMBED_CACHE_PATH")
        models = cache_dir or platformdirs.user_cache_path("asynccache", appauthor=False) / "models"
        # Without local_files_only, a model that is there would be looked up in the network all the same.
        try:
            encoder = TextCrossEncoder(self._name, cache_dir=str(models), threads=1, local_files_only=True)
        except ValueError:
            if not self._download:
                raise
            encoder = TextCrossEncoder(self._name, cache_dir=str(models), threads=1)
        return _Model(encoder)

    def __repr__(self) -> str:
        return f"<CrossEncoderVerifier {self._name!r}>"


class _Model:
    """A model in memory."""

    def __init__(self, encoder: Any) -> None:
        self._encoder: Final = encoder
        self._tokenizer: Final = encoder.model.tokenizer
        unknown = getattr(self._tokenizer.model, "unk_token", None) or "<unk>"
        self._unknown: Final = self._tokenizer.token_to_id(unknown)

    def scores(self, one: str, other: str) -> list[float]:
        """Of both ways round. Raises _Unusable, and whatever fastembed raises."""
        encoding: Encoding = self._tokenizer.encode(one, other)
        if encoding.overflowing:  # what fastembed cuts off, and says nothing
            raise _Unusable("the questions are longer than the model's window")
        if self._unknown in encoding.ids:  # all that a model does not know is one and the same to it
            raise _Unusable("a question holds words or signs the model does not know")
        pairs = [(one, other), (other, one)]
        return [float(each) for each in self._encoder.rerank_pairs(pairs, batch_size=len(pairs))]


def _described(folder: Path) -> str:
    """The name under which fastembed knows models in a file of that name."""
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    file = next((file for file in _FILES if (folder / file).is_file()), None)
    if file is None:
        raise _Unusable(f"no model in the folder: expected {' or '.join(_FILES)}")
    name = f"asynccache/{file}"
    with _REGISTERING:
        if all(name.lower() != each["model"].lower() for each in TextCrossEncoder.list_supported_models()):
            # It insists on a source; nothing is fetched.
            TextCrossEncoder.add_custom_model(name, ModelSource(hf="nobody/nowhere"), model_file=file)
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
