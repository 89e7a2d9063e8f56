"""Wire protocols, as pure functions over bodies and bytes. A new one implements ``Dialect``."""

from __future__ import annotations

from asynccache.dialects.chat import ChatCompletions

__all__ = ["ChatCompletions"]
