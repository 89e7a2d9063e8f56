"""A folder with a model in it: what it holds, and what it says about itself."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from asynccache._errors import EmbedderUnavailable

__all__ = ["BUNDLED", "BUNDLED_NAME", "FolderModel", "digest_of", "read_folder"]

BUNDLED_NAME: Final = "all-MiniLM-L6-v2"
BUNDLED: Final = Path(__file__).parent / "models" / BUNDLED_NAME
"""The model that comes with this package."""

_FILES: Final = ("model.onnx", "onnx/model.onnx")
"""Where exporters put the weights."""

_TOKENIZER: Final = ("tokenizer.json", "tokenizer_config.json")
"""What fastembed reads the tokenizer from."""

_FLAGS: Final = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last_token",
}
"""sentence-transformers' names of the ways of pooling."""


class FolderModel(NamedTuple):
    """A model in a folder."""

    name: str
    file: str
    """Its weights, relative to the folder."""
    pooling: str
    """``mean``, ``cls``, ``last_token``, or ``none`` when the model's own output is one vector a text."""
    digest: str | None
    """What the manifest says the weights' SHA-256 is."""


def read_folder(folder: Path) -> FolderModel:
    """Find the model.

    ``manifest.json`` (``name``, ``pooling``, ``sha256``) speaks first, then sentence-transformers'
    ``1_Pooling/config.json``; what nobody says is mean pooling, and the folder's own name.

    Raises:
        EmbedderUnavailable: there is none, or none with a tokenizer, or it pools in a way not known here.
        OSError: a file cannot be read.
        ValueError: a file is not JSON.
    """
    file = next((file for file in _FILES if (folder / file).is_file()), None)
    if file is None:
        raise EmbedderUnavailable(f"{folder} holds no model: expected {' or '.join(_FILES)} in it")
    for needed in _TOKENIZER:
        if not (folder / needed).is_file():
            raise EmbedderUnavailable(f"{folder} holds no {needed}")
    manifest = _document(folder / "manifest.json")
    pooling = manifest.get("pooling") or _pooling(_document(folder / "1_Pooling" / "config.json"))
    known = (*_FLAGS.values(), "none")
    if pooling not in known:
        raise EmbedderUnavailable(f"{folder}: pooling {pooling!r} is not known; known: {', '.join(known)}")
    name = manifest.get("name") or folder.resolve().name
    return FolderModel(str(name), file, pooling, manifest.get("sha256"))


def _pooling(flags: dict[str, Any]) -> str:
    modes = [mode for mode, on in flags.items() if mode.startswith("pooling_mode_") and on is True]
    if not modes:
        return "mean"
    return _FLAGS.get(modes[0], modes[0]) if len(modes) == 1 else " and ".join(modes)


def _document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    document = orjson.loads(path.read_bytes())
    return document if isinstance(document, dict) else {}


def digest_of(file: Path) -> str:
    """SHA-256, hexadecimal, of a model's weights, with the files beside it that hold more of them.

    An ONNX file may keep its weights in ``model.onnx_data`` or the like; the digest is then that of all
    the digests, in the order of the names.
    """
    digests = []
    for part in sorted(file.parent.glob(file.name + "*")):
        with part.open("rb") as opened:
            digests.append(hashlib.file_digest(opened, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
