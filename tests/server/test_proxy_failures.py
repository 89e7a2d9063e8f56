"""Upstreams that answer oddly: the client gets a response that can be read, in the dialect's shape."""

from __future__ import annotations

import functools
from typing import Any

import httpx2
import orjson
import pytest

from tests.server.conftest import completion

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"


def saying(status: int, *headers: bytes, body: bytes = b"{}") -> Any:
    """A handler that answers so, word for word."""

    async def answer(asked: Any) -> None:
        await asked.send(b"HTTP/1.1 %d Said\r\n" % status, *headers)
        if b"transfer-encoding: chunked\r\n" in headers:
            await asked.send(b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        elif body:
            await asked.send(b"content-length: %d\r\n\r\n" % len(body), body)
        else:
            await asked.send(b"\r\n")

    return answer


@pytest.fixture(params=["their key", "own key"])
def keyed(request: pytest.FixtureRequest, proxying: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A proxy before an upstream, asking with its client's key, or with one of its own and once."""
    monkeypatch.setenv("UPSTREAM_KEY", "theirs")
    return functools.partial(
        proxying.both, **({"upstream_key_env": "UPSTREAM_KEY"} if request.param == "own key" else {})
    )


def made_here(response: httpx2.Response, status: int) -> None:
    """Assert that a response is the proxy's own failure, in the shape of the dialect."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert isinstance(error["message"], str)
    assert error["type"]
    assert error["code"] == status


@pytest.mark.parametrize("odd", [b"a\x01b", b"a\x7f", b"\x1b[31m"])
async def test_header_of_an_upstream_with_a_control_character_is_left_out(proxying: Any, odd: bytes) -> None:
    headers = (b"x-odd: %b\r\n" % odd, b"x-odd: fine\r\n", b"x-bytes: \xff\t\xe9\r\n")
    async with proxying.both(saying(200, *headers, body=orjson.dumps(completion()))) as (_, served):
        asked = await served.ask()
        passed = await served.client.get("/v1/models")
    for response in (asked, passed):
        assert response.status_code == 200
        assert response.json()["id"] == "chatcmpl-1"
        assert [value for name, value in response.headers.raw if name == b"x-odd"] == [b"fine"]
        assert dict(response.headers.raw)[b"x-bytes"] == b"\xff\t\xe9"
    assert not served.reports


@pytest.mark.parametrize("status", [600, 999])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/messages/batches"])
async def test_status_that_is_none_is_answered_502_where_it_is_passed_on(
    proxying: Any, status: int, path: str
) -> None:
    async with proxying.both(saying(status)) as (_, served):
        response = await served.client.get(path)
        assert served.app._gate.running == 0
    assert response.status_code == 502
    assert isinstance(response.json()["error"]["message"], str)
    assert not served.reports


async def test_length_beside_chunks_is_not_passed_on(proxying: Any) -> None:
    headers = (b"content-length: 1\r\n", b"transfer-encoding: chunked\r\n")
    async with proxying.both(saying(200, *headers, body=b"whole")) as (_, served):
        response = await served.client.get("/v1/models")
    assert response.content == b"whole"
    assert not served.reports


@pytest.mark.parametrize("status", [204, 205, 304, 600, 999])
@pytest.mark.parametrize("stream", [False, True])
async def test_status_without_an_answer_is_a_failure_in_the_shape_of_the_dialect(
    keyed: Any, status: int, *, stream: bool
) -> None:
    headers = [b"content-length: 0\r\n"] if status == 205 else []
    body = b'{"code":%d}' % status if status >= 600 else b""
    async with keyed(saying(status, *headers, body=body)) as (_, served):
        response = await served.ask(stream=stream)
    made_here(response, 502)
    assert not served.reports


@pytest.mark.parametrize("stream", [False, True])
async def test_error_that_is_no_whole_json_is_not_passed_off_as_one(
    proxying: Any, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "theirs")
    handler = saying(400, body=b'{"error": {"message": "n')
    async with proxying.both(handler, upstream_key_env="UPSTREAM_KEY") as (_, served):
        response = await served.ask(stream=stream)
    made_here(response, 400)


async def test_error_that_an_upstream_sends_as_success_is_told_in_its_own_words(
    proxying: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "theirs")
    body = b'{"error": {"message": "no such thing", "type": "t", "code": 400}}'
    async with proxying.both(saying(200, body=body), upstream_key_env="UPSTREAM_KEY") as (_, served):
        response = await served.ask()
    assert response.status_code == 400
    assert response.content == body


async def test_object_that_is_no_answer_is_a_failure_of_a_stream_in_the_shape_of_the_dialect(
    proxying: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "theirs")
    async with proxying.both(saying(200), upstream_key_env="UPSTREAM_KEY") as (_, served):
        made_here(await served.ask(stream=True), 502)


async def test_answer_under_a_status_without_a_body_is_told_to_be_one(proxying: Any) -> None:
    body = orjson.dumps(completion())
    async with proxying.both(saying(205, body=body)) as (_, served):
        response = await served.ask()
    assert (response.status_code, response.content) == (200, body)
