"""What may name an upstream, and which options it takes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from asynccache._errors import ConfigurationError
from asynccache.upstreams import CallableUpstream, OpenAIUpstream, as_upstream

if TYPE_CHECKING:
    from asynccache._models import Request, Response
    from asynccache._stream import Stream


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        ("https://gateway.example/team/a/v1", "https://gateway.example/team/a/v1"),
        ("HTTP://[::1]:8000", "http://[::1]:8000"),
        ("http://host", "http://host"),
    ],
)
def test_base_url_is_taken_with_or_without_a_slash(given: str, url: str) -> None:
    assert repr(OpenAIUpstream(given)) == f"<OpenAIUpstream {url}>"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("ftp://host/v1", "expected http:// or https://, got 'ftp://host/v1'"),
        ("127.0.0.1:8000/v1", "expected http:// or https://"),
        ("", "expected http:// or https://"),
        ("http:///v1", "names no host"),
        ("http://host/v1?key=SECRET", "must not have a query or a fragment"),
        ("http://host/v1?", "must not have a query or a fragment"),
        ("http://host/v1#SECRET", "must not have a query or a fragment"),
        ("http://me:SECRET@host/v1", "credentials do not belong in a URL"),
        ("http://SECRET@host/v1", "credentials do not belong in a URL"),
        ("http://host:99999/v1", "not a valid URL"),
        ("http://host:port/v1", "not a valid URL"),
        ("http://[::1/v1", "not a valid URL"),
        ("http://host/v1\n", "spaces or control characters"),
        ("http://ho st/v1", "spaces or control characters"),
        ("http://host/v1/chat/completions/", "give the part before /chat/completions"),
        (7, "expected a string, got int"),
    ],
)
def test_base_url_that_cannot_work_is_refused(given: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        OpenAIUpstream(given)
    assert str(caught.value).startswith("base_url: ")
    assert sentence in str(caught.value)
    assert "SECRET" not in str(caught.value)


def sent_key(upstream: OpenAIUpstream) -> str | None:
    return upstream._headers.get("authorization")


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://api.openai.com/v1", "Bearer from-env"),
        ("http://api.openai.com/v1", None),
        ("https://api.openai.com.example/v1", None),
        ("https://gateway.example/v1", None),
        ("http://127.0.0.1:8000/v1", None),
    ],
)
def test_key_of_the_environment_goes_to_openai_only(
    url: str, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-env")
    assert sent_key(OpenAIUpstream(url)) == key
    assert sent_key(OpenAIUpstream(url, api_key="given")) == "Bearer given"
    assert sent_key(OpenAIUpstream(url, api_key="")) is None


def test_key_is_never_shown() -> None:
    upstream = OpenAIUpstream("http://host/v1", api_key="SECRET", headers={"x-key": "SECRET"})
    assert "SECRET" not in repr(upstream)
    refused: list[dict[str, Any]] = [
        {"api_key": "SEC RET"},
        {"api_key": "SECR\u00c9T"},
        {"headers": {"x": "SECRET\n"}},
    ]
    for bad in refused:
        with pytest.raises(ConfigurationError) as caught:
            OpenAIUpstream("http://host/v1", **bad)
        assert "SEC" not in str(caught.value)


def test_given_header_wins() -> None:
    upstream = OpenAIUpstream("http://host/v1", api_key="a", headers={"Authorization": "Basic b"})
    assert upstream._headers.get_list("authorization") == ["Basic b"]


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": "5"},
        {"timeout": True},
        {"max_connections": 0},
        {"max_connections": 1.5},
        {"max_retries": -1},
        {"max_retries": True},
        {"max_answer_bytes": 0},
        {"headers": {"a b": "c"}},
        {"headers": {"": "c"}},
        {"headers": {"a": 1}},
    ],
)
def test_option_that_cannot_work_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        OpenAIUpstream("http://host/v1", **options)


def test_timeouts_are_those_documented() -> None:
    timeout = OpenAIUpstream("http://host/v1")._timeout
    assert timeout.as_dict() == {"connect": 10.0, "read": 600.0, "write": 60.0, "pool": 60.0}
    assert OpenAIUpstream("http://host/v1", timeout=None)._timeout == httpx2.Timeout(None)
    assert OpenAIUpstream("http://host/v1", timeout=3)._timeout == httpx2.Timeout(3)


async def answer(body: dict[str, Any]) -> str:
    return "x"


class Own:
    async def fetch(self, request: Request) -> Response:
        raise NotImplementedError

    async def stream(self, request: Request) -> Stream:
        raise NotImplementedError


def test_upstream_is_named_by_a_url_a_callable_or_itself() -> None:
    own = Own()
    assert isinstance(as_upstream("http://host/v1", max_retries=0), OpenAIUpstream)
    assert isinstance(as_upstream(answer), CallableUpstream)
    assert as_upstream(own) is own


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (lambda body: "x", "got function, which is not async (async def)"),
        (Own, "got the class Own (an instance of it may do)"),
        (None, "got NoneType"),
        (7, "got int"),
    ],
)
def test_anything_else_is_refused_with_what_would_do(given: object, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        as_upstream(given)
    assert "expected a URL, an async callable" in str(caught.value)
    assert sentence in str(caught.value)


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="api_key can be given with a URL only"):
        as_upstream(answer, api_key="k")
    with pytest.raises(ConfigurationError, match="colour"):
        as_upstream("http://host/v1", colour="red")


def test_http_client_is_imported_only_when_it_is_needed() -> None:
    code = "import asynccache.upstreams, sys; sys.exit('httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
