"""Wire protocols, as pure functions over bodies and bytes. A new one implements ``Dialect``."""

from __future__ import annotations

from asynccache.dialects.chat import ChatCompletions
from asynccache.dialects.completions import Completions
from asynccache.dialects.embeddings import Embeddings
from asynccache.dialects.messages import Messages
from asynccache.dialects.responses import Responses

__all__ = ["ChatCompletions", "Completions", "Embeddings", "Messages", "Responses"]
