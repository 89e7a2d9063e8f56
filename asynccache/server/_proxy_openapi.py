"""What the proxy serves, as an OpenAPI 3.1 document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["document"]

_OBJECT: Final[dict[str, Any]] = {"type": "object"}
_EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "description": "One server-sent event",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
_HEADERS: Final = [
    {
        "name": "Cache-Control",
        "in": "header",
        "description": "no-cache, no-store, only-if-cached, max-age=SECONDS, stale-if-error=SECONDS",
        "schema": {
            "type": "string",
            "pattern": "^(no-cache|no-store|(max-age|stale-if-error)=[0-9]{1,9})"
            "(, (no-cache|no-store|(max-age|stale-if-error)=[0-9]{1,9}))*$",
        },
    },
    {
        "name": "X-Cache-Tags",
        "in": "header",
        "description": "Labels of the stored answer, separated by commas",
        "schema": {"type": "string"},
    },
]
_CHOICES: Final = {"n": {"type": ["integer", "null"], "minimum": 1}}
_BOUNDED: Final[Mapping[str, dict[str, Any]]] = {"chat.completions": _CHOICES, "completions": _CHOICES}
"""Fields that a body need not have, and that are refused outside their bounds."""
_REQUIRED: Final[Mapping[str, dict[str, Any]]] = {
    "chat.completions": {
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {"role": {"type": "string"}, "content": {"type": ["string", "null"]}},
                "required": ["role"],
            },
        }
    },
    "completions": {"prompt": {"type": "string"}},
    "embeddings": {"input": {"type": "string", "minLength": 1}},
    "messages": {
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "role": {"enum": ["user", "assistant"]},
                    "content": {"type": "string", "minLength": 1},
                },
                "required": ["role", "content"],
            },
        },
        "max_tokens": {"type": "integer", "minimum": 1},
    },
    "responses": {"input": {"type": "string", "minLength": 1}},
}
"""What a body needs beside the model; upstreams take more forms than are told here."""

_ERRORS: Final = {
    "400": "The body or a header cannot be taken, or the upstream refused the question",
    "401": "The API key is missing or not known",
    "403": "The upstream refused",
    "404": "The upstream does not know the model or the path",
    "405": "This method is not allowed",
    "408": "The body did not come in time",
    "413": "The body is too long",
    "415": "The body is compressed, or no JSON",
    "429": "Too many requests at once, here or at the upstream",
    "500": "A failure of this server",
    "502": "The upstream cannot be reached, or its answer is none",
    "503": "The server is closing, or the upstream is busy",
    "504": "The upstream took too long, or only-if-cached was asked for and nothing is stored",
    "default": "Whatever else the upstream answers",
}


def document(paths: Mapping[str, str]) -> dict[str, Any]:
    """The document.

    Args:
        paths: dialects by their path below ``/v1``.
    """
    from asynccache import __version__

    asked = {f"/v1{path}": {"post": _question(dialect)} for path, dialect in paths.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "asynccache",
            "version": __version__,
            "description": "Answers to models' questions, from a cache where they were asked before.",
        },
        "paths": {
            **asked,
            "/healthz": {"get": _page("The process is alive", {"200": "It is"})},
            "/readyz": {
                "get": _page("Requests are served", {"200": "They are", "503": "Not yet, or no more"})
            },
            "/openapi.json": {"get": _page("This document", {"200": "It"})},
        },
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _question(dialect: str) -> dict[str, Any]:
    needed = _REQUIRED.get(dialect, {})
    stream = {} if dialect == "embeddings" else {"stream": {"type": "boolean"}}
    body = {
        "type": "object",
        "properties": {"model": {"type": "string"}, **stream, **needed, **_BOUNDED.get(dialect, {})},
        "required": [*needed],
    }
    whole: dict[str, Any] = {"application/json": {"schema": _OBJECT}}
    events = {} if dialect == "embeddings" else {"text/event-stream": {"schema": _EVENT}}
    told = {
        "Cache-Status": {"description": "What the cache did (RFC 9211)", "schema": {"type": "string"}},
        "Age": {"description": "Seconds since a stored answer was made", "schema": {"type": "integer"}},
    }
    return {
        "operationId": dialect.replace(".", "_"),
        "summary": f"A question in the form of {dialect}",
        "security": [{"key": []}, {}],
        "parameters": _HEADERS,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "The answer", "headers": told, "content": {**whole, **events}},
            **{status: {"description": words, "content": whole} for status, words in _ERRORS.items()},
        },
    }


def _page(summary: str, responses: Mapping[str, str]) -> dict[str, Any]:
    content = {"application/json": {"schema": _OBJECT}}
    return {
        "summary": summary,
        "responses": {
            status: {"description": words, "content": content}
            for status, words in {**responses, "405": _ERRORS["405"]}.items()
        },
    }
