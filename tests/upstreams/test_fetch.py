"""Whole answers over HTTP: what is sent, what is taken, what each failure is called."""

from __future__ import annotations

import asyncio
import gzip
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import orjson
import pytest

from asynccache._errors import (
    ConfigurationError,
    InvalidRequest,
    PipelineClosed,
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamBusy,
    UpstreamError,
    UpstreamInvalidAnswer,
    UpstreamServerError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from asynccache._models import Request
from asynccache.upstreams.openai import OpenAIUpstream

if TYPE_CHECKING:
    from tests.upstreams.conftest import Exchange, Wire

pytestmark = pytest.mark.anyio

OK = b'{"choices":[]}'


async def test_body_goes_out_as_it_was_given(wire: type[Wire]) -> None:
    sent = {"messages": [{"content": "caf\u00e9", "role": "user"}], "model": "m", "seed": 1, "x": [1.5, None]}

    async def answer(exchange: Exchange) -> None:
        await exchange.send(wire.whole(200, OK))

    async with wire.asking(answer, api_key="key-1", headers={"X-Team": "blue"}) as (upstream, raw):
        response = await upstream.fetch(Request(body=MappingProxyType(sent)))
    assert response.body == OK
    (exchange,) = raw.requests
    assert exchange.path == "/v1/chat/completions"
    assert exchange.body == orjson.dumps(sent)
    assert exchange.headers["authorization"] == "Bearer key-1"
    assert exchange.headers["content-type"] == "application/json"
    assert exchange.headers["x-team"] == "blue"


async def test_each_mode_asks_for_itself_and_leaves_the_rest_in_place(wire: type[Wire]) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(wire.whole(200, b'{"choices":[]}'))

    streaming = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "messages": []}
    async with wire.asking(answer) as (upstream, raw):
        await upstream.fetch(Request(body=streaming))
        await (await upstream.stream(Request(body=streaming))).aclose()
        await (await upstream.stream(Request(body={"model": "m", "stream": False, "messages": []}))).aclose()
    bodies = [exchange.body for exchange in raw.requests]
    assert bodies[0] == b'{"model":"m","messages":[]}'
    assert bodies[1] == orjson.dumps(streaming)
    assert bodies[2] == b'{"model":"m","stream":true,"messages":[]}'


async def test_body_that_json_cannot_carry_is_refused_before_anything_is_sent(wire: type[Wire]) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(wire.whole(200, OK))

    async with wire.asking(answer) as (upstream, raw):
        with pytest.raises(InvalidRequest, match="temperature"):
            await upstream.fetch(wire.request(temperature=object()))
    assert raw.connections == 0


async def test_unknown_dialect_is_told(wire: type[Wire]) -> None:
    async def answer(exchange: Exchange) -> None: ...

    async with wire.asking(answer) as (upstream, _):
        with pytest.raises(ConfigurationError, match="unknown dialect 'telepathy'"):
            await upstream.fetch(Request(body={}, dialect="telepathy"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, UpstreamServerError),
        (400, UpstreamBadRequest),
        (401, UpstreamAuth),
        (403, UpstreamAuth),
        (404, UpstreamBadRequest),
        (405, UpstreamBadRequest),
        (408, UpstreamTimeout),
        (409, UpstreamBadRequest),
        (413, UpstreamBadRequest),
        (415, UpstreamBadRequest),
        (422, UpstreamBadRequest),
        (429, UpstreamBusy),
        (500, UpstreamServerError),
        (502, UpstreamServerError),
        (503, UpstreamBusy),
        (504, UpstreamServerError),
    ],
)
async def test_each_status_has_its_kind_of_error(
    status: int, kind: type[UpstreamError], wire: type[Wire]
) -> None:
    with pytest.raises(UpstreamError) as caught:
        await wire.fetched(wire.whole(status, b"no json", location="http://127.0.0.1:1/"))
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert caught.value.body == b"no json"


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        (b"<html>", UpstreamInvalidAnswer, "the upstream's answer is no JSON"),
        (b"", UpstreamInvalidAnswer, "no JSON"),
        (b'{"choices": [', UpstreamInvalidAnswer, "no JSON"),
        (b"\xff{}", UpstreamInvalidAnswer, "no JSON"),
        (b"[1]", UpstreamInvalidAnswer, "JSON that is a list"),
        (b'"text"', UpstreamInvalidAnswer, "JSON that is a str"),
        (b'{"error":{"message":"SECRET","type":"x","code":502}}', UpstreamServerError, "(type x)"),
        (b'{"error":"SECRET"}', UpstreamServerError, "said success and sent an error"),
        (b'{"object":"error","message":"SECRET","type":"y"}', UpstreamServerError, "(type y)"),
    ],
)
async def test_success_without_an_answer_is_an_error(
    body: bytes, kind: type[UpstreamError], sentence: str, wire: type[Wire]
) -> None:
    with pytest.raises(UpstreamError) as caught:
        await wire.fetched(wire.whole(200, body))
    assert type(caught.value) is kind
    assert sentence in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert ("SECRET" in caught.value.detail) == (b"SECRET" in body)


async def test_null_error_field_is_no_error(wire: type[Wire]) -> None:
    response = await wire.fetched(wire.whole(200, b'{"error":null,"choices":[]}'))
    assert response.body == b'{"error":null,"choices":[]}'


async def test_type_that_is_a_sentence_stays_out_of_the_message(wire: type[Wire]) -> None:
    body = b'{"error":{"type":"you said: SECRET!","param":"messages[0].content","code":"too_long"}}'
    with pytest.raises(UpstreamBadRequest) as caught:
        await wire.fetched(wire.whole(400, body))
    assert str(caught.value) == "the upstream answered 400 (code too_long, param messages[0].content)"


async def test_answer_over_the_limit_is_refused(wire: type[Wire]) -> None:
    body = orjson.dumps({"choices": "x" * 100})
    assert (await wire.fetched(wire.whole(200, body), max_answer_bytes=len(body))).body == body
    with pytest.raises(UpstreamInvalidAnswer, match="max_answer_bytes"):
        await wire.fetched(wire.whole(200, body), max_answer_bytes=len(body) - 1)


async def test_compressed_answer_is_measured_unpacked(wire: type[Wire]) -> None:
    body = orjson.dumps({"choices": "x" * 10_000_000})
    packed = wire.whole(200, gzip.compress(body), content_encoding="gzip")
    assert (await wire.fetched(packed)).body == body
    with pytest.raises(UpstreamInvalidAnswer, match="max_answer_bytes"):
        await wire.fetched(packed, max_answer_bytes=1_000_000)


async def test_broken_compression_is_an_invalid_answer(wire: type[Wire]) -> None:
    with pytest.raises(UpstreamInvalidAnswer, match="content encoding"):
        await wire.fetched(wire.whole(200, OK, content_encoding="gzip"))


async def test_endless_error_body_is_cut(wire: type[Wire]) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(wire.head(500, transfer_encoding="chunked"))
        while True:
            await exchange.send(wire.chunk(b"x" * 10_000))

    async with wire.asking(answer) as (upstream, raw):
        with pytest.raises(UpstreamServerError) as caught, anyio.fail_after(5):
            await upstream.fetch(wire.request())
        await raw.all_closed()
    assert caught.value.body == b"x" * 65_536


async def test_redirect_is_not_followed(wire: type[Wire]) -> None:
    async with wire.server(lambda exchange: exchange.send(wire.whole(200, OK))) as target:
        with pytest.raises(UpstreamServerError, match="307"):
            await wire.fetched(wire.whole(307, b"", location=target.base_url))
        assert target.connections == 0


async def test_answer_broken_off_in_the_middle_is_unreachable_and_not_asked_for_again(
    wire: type[Wire],
) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(wire.whole(200, OK)[:-3])
        exchange.writer.close()

    async with wire.asking(answer) as (upstream, raw):
        with pytest.raises(UpstreamUnreachable, match="broke"):
            await upstream.fetch(wire.request())
    assert len(raw.requests) == 1


async def test_connection_closed_before_the_status_is_unreachable_and_not_asked_for_again(
    wire: type[Wire],
) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.writer.close()

    async with wire.asking(answer) as (upstream, raw):
        with pytest.raises(UpstreamUnreachable, match="broke"):
            await upstream.fetch(wire.request())
    assert len(raw.requests) == 1


async def test_bytes_that_are_not_http_are_unreachable(wire: type[Wire]) -> None:
    with pytest.raises(UpstreamUnreachable):
        await wire.fetched(b"SSH-2.0-OpenSSH\r\n\r\n")


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-type: appl", None])
async def test_slow_answer_times_out_and_is_not_asked_for_again(sent: bytes | None, wire: type[Wire]) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(wire.whole(200, OK)[:-3] if sent is None else sent)
        await exchange.client_left()

    async with wire.asking(answer, timeout=0.1) as (upstream, raw):
        with pytest.raises(UpstreamTimeout, match="ReadTimeout"):
            await upstream.fetch(wire.request())
        await raw.all_closed()
    assert len(raw.requests) == 1


class Pauses:
    """Stands for the clock of the retries: remembers what it was told to wait."""

    def __init__(self, upstream: OpenAIUpstream, random: float = 1.0) -> None:
        self.seconds: list[float] = []
        upstream._sleep = self._sleep
        upstream._random = lambda: random
        upstream._now = lambda: 1_792_483_200.0  # Tue, 20 Oct 2026 08:00:00 GMT

    async def _sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.mark.parametrize("status", [429, 503])
async def test_busy_upstream_is_asked_again(status: int, wire: type[Wire]) -> None:
    answers = [wire.whole(status, b"{}"), wire.whole(status, b"{}"), wire.whole(200, OK)]

    async with wire.asking(lambda exchange: exchange.send(answers.pop(0))) as (upstream, raw):
        pauses = Pauses(upstream)
        assert (await upstream.fetch(wire.request())).body == OK
    assert pauses.seconds == [0.5, 1.0]
    assert len({exchange.body for exchange in raw.requests}) == 1
    assert raw.connections == 1


async def test_upstream_that_stays_busy_is_given_up_after_all_retries(wire: type[Wire]) -> None:
    busy = wire.whole(503, b"{}")
    async with wire.asking(lambda exchange: exchange.send(busy), max_retries=3) as (upstream, raw):
        pauses = Pauses(upstream)
        with pytest.raises(UpstreamBusy):
            await upstream.stream(wire.request())
    assert len(raw.requests) == 4
    assert len(pauses.seconds) == 3


@pytest.mark.parametrize(
    ("value", "waited"), [("7", [7.0]), ("Tue, 20 Oct 2026 08:00:30 GMT", [30.0]), ("61", [])]
)
async def test_retry_after_is_honoured_up_to_a_point(
    value: str, waited: list[float], wire: type[Wire]
) -> None:
    busy = wire.whole(429, b"{}", retry_after=value)
    async with wire.asking(lambda exchange: exchange.send(busy), max_retries=1) as (upstream, _):
        pauses = Pauses(upstream, random=0.0)
        with pytest.raises(UpstreamBusy) as caught:
            await upstream.fetch(wire.request())
    assert pauses.seconds == waited
    assert caught.value.retry_after == (waited or [61.0])[0]


async def test_refused_connection_is_tried_again_and_then_unreachable(wire: type[Wire]) -> None:
    async with wire.server(lambda exchange: exchange.send(b"")) as raw:
        url = raw.base_url
    upstream = OpenAIUpstream(url)
    pauses = Pauses(upstream)
    async with upstream.lifespan():
        with pytest.raises(UpstreamUnreachable, match="ConnectError") as caught:
            await upstream.fetch(wire.request())
    assert len(pauses.seconds) == 2
    assert caught.value.status is None


async def test_transport_that_fails_oddly_is_unreachable(wire: type[Wire]) -> None:
    def fail(_: httpx2.Request) -> httpx2.Response:
        raise RuntimeError("odd")

    upstream = OpenAIUpstream("http://x/v1", transport=httpx2.MockTransport(fail))
    async with upstream.lifespan():
        with pytest.raises(UpstreamUnreachable, match="RuntimeError"):
            await upstream.fetch(wire.request())


async def test_given_transport_is_not_closed(wire: type[Wire]) -> None:
    class Transport(httpx2.MockTransport):
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    transport = Transport(lambda _: httpx2.Response(200, content=OK))
    upstream = OpenAIUpstream("http://x/v1", transport=transport)
    for _ in range(2):
        async with upstream.lifespan():
            assert (await upstream.fetch(wire.request())).body == OK
    assert not transport.closed


async def test_use_outside_the_lifespan_is_refused(wire: type[Wire]) -> None:
    upstream = OpenAIUpstream("http://127.0.0.1:1/v1")
    with pytest.raises(PipelineClosed, match="lifespan"):
        await upstream.fetch(wire.request())
    async with upstream.lifespan():
        pass
    with pytest.raises(PipelineClosed, match="lifespan"):
        await upstream.stream(wire.request())


async def test_connections_close_with_the_last_user(wire: type[Wire]) -> None:
    async with wire.server(lambda exchange: exchange.send(wire.whole(200, OK))) as raw:
        upstream = OpenAIUpstream(raw.base_url)
        async with upstream.lifespan():
            async with upstream.lifespan():
                await upstream.fetch(wire.request())
            await upstream.fetch(wire.request())
            assert raw.open == 1
        await raw.all_closed()
        async with upstream.lifespan():
            await upstream.fetch(wire.request())
    assert raw.connections == 2


async def test_many_requests_share_the_connections_there_are(wire: type[Wire]) -> None:
    at_work = most = 0

    async def answer(exchange: Exchange) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.01)
        at_work -= 1
        number: Any = exchange.json()["seed"]
        await exchange.send(wire.whole(200, orjson.dumps({"seed": number})))

    async with wire.asking(answer, max_connections=5) as (upstream, raw):
        asked = [upstream.fetch(wire.request(seed=number)) for number in range(50)]
        answers = await asyncio.gather(*asked)
    assert [orjson.loads(response.body)["seed"] for response in answers] == list(range(50))
    assert most == 5
    assert raw.connections == 5
