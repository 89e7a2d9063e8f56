"""Which paths the cache answers, wherever the base URL is."""

from __future__ import annotations

import pytest

from asynccache._wire.routes import dialect_of


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/chat/completions", "chat.completions"),
        ("/openai/deployments/gpt/chat/completions", "chat.completions"),
        ("/api/v1/completions", "completions"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/responses", "responses"),
        ("/v1/messages", "messages"),
        ("/anthropic/v1/messages", "messages"),
        ("/v1beta/responses", "responses"),
    ],
)
def test_model_calls_are_known_by_the_end_of_their_path(path: str, dialect: str) -> None:
    assert dialect_of(path) == dialect


@pytest.mark.parametrize(
    "path",
    [
        "/v1/threads/abc/messages",
        "/v1/messages/count_tokens",
        "/v1/messages/batches",
        "/v1/chat/completions/abc",
        "/v1/responses/abc/cancel",
        "/v1/models",
        "/",
        "",
        "/messages",
    ],
)
def test_other_paths_are_none_of_the_caches_business(path: str) -> None:
    assert dialect_of(path) is None
