"""Every recording of a real vLLM server, replayed byte for byte in awkward pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from asynccache._errors import (
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamBusy,
    UpstreamError,
    UpstreamStreamError,
)
from asynccache._registry import find_dialect

if TYPE_CHECKING:
    from tests.upstreams.conftest import Wire

pytestmark = pytest.mark.anyio

WHOLE = ["chat_basic", "chat_nodetails", "json_schema", "priority_fcfs", "tool_named", "reset_while_running"]
STREAMS = ["reasoning_stream", "stream_n2", "tool_required_stream", "tool_stream_named"]
REFUSALS = [
    ("401_no_key", UpstreamAuth, 401, "the upstream answered 401", "Unauthorized"),
    ("401_models", UpstreamAuth, 401, "the upstream answered 401", "Unauthorized"),
    ("503_queue", UpstreamBusy, 503, "answered 503 (type Service Unavailable)", "The engine is"),
    ("503_queue_stream", UpstreamBusy, 503, "answered 503 (type Service Unavailable)", "The engine"),
    (
        "err_400_temp",
        UpstreamBadRequest,
        400,
        "(type BadRequestError, param temperature)",
        "temperature must",
    ),
    ("err_404_model", UpstreamBadRequest, 404, "(type NotFoundError, param model)", "The model `nope`"),
]


def payloads(body: bytes) -> list[bytes]:
    """The data of a recorded event stream, cut the simple way, without ``[DONE]``."""
    events = body.strip().split(b"\n\n")
    assert all(event.startswith(b"data: ") for event in events)
    assert events[-1] == b"data: [DONE]"
    return [event.removeprefix(b"data: ") for event in events[:-1]]


def test_every_recording_is_covered(wire: type[Wire]) -> None:
    known = {*WHOLE, *STREAMS, *(refusal[0] for refusal in REFUSALS), "midstream_engine_death"}
    from_disk = {path.stem for path in (wire.recordings).glob("*.http")}
    assert known == from_disk


@pytest.mark.parametrize("name", WHOLE)
async def test_whole_answer_arrives_byte_for_byte(name: str, wire: type[Wire]) -> None:
    head, body = wire.recording(name)
    response = await wire.fetched(head + body)
    assert response.body == body
    assert response.frames == ()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 10**6])
@pytest.mark.parametrize("name", STREAMS)
async def test_streamed_answer_arrives_frame_by_frame(name: str, size: int, wire: type[Wire]) -> None:
    head, body = wire.recording(name)
    frames, error = await wire.streamed(head, *wire.chunks(body, size))
    assert error is None
    assert frames == payloads(body)


@pytest.mark.parametrize("name", STREAMS)
async def test_streamed_answer_survives_crlf_and_comments(name: str, wire: type[Wire]) -> None:
    head, body = wire.recording(name)
    noisy = b": keep-alive\n\n" + body.replace(b"\n\n", b"\n\n: keep-alive\n\n")
    frames, error = await wire.streamed(head, *wire.chunks(noisy.replace(b"\n", b"\r\n"), 1))
    assert error is None
    assert frames == payloads(body)


@pytest.mark.parametrize("name", STREAMS)
async def test_streamed_answer_can_be_assembled(name: str, wire: type[Wire]) -> None:
    head, body = wire.recording(name)
    frames, _ = await wire.streamed(head, *wire.chunks(body, 100))
    document = orjson.loads(find_dialect("chat.completions").assemble(frames))
    assert all(choice["finish_reason"] for choice in document["choices"])


@pytest.mark.parametrize("name", STREAMS)
async def test_stream_cut_anywhere_before_its_last_finish_is_an_error(name: str, wire: type[Wire]) -> None:
    head, body = wire.recording(name)
    whole = payloads(body)
    choices = [(at, choice) for at, frame in enumerate(whole) for choice in orjson.loads(frame)["choices"]]
    last = max(at for at, choice in choices if choice["finish_reason"])
    for kept in (0, 1, last // 2, last):
        cut = b"".join(b"data: " + frame + b"\n\n" for frame in whole[:kept])
        for end in (b"", b"data: [DONE]\n\n"):  # [DONE] proves nothing
            frames, error = await wire.streamed(head, *wire.chunks(cut + end, 500))
            assert frames == whole[:kept]
            assert isinstance(error, UpstreamStreamError)


async def test_engine_death_is_an_error_after_the_frames_before_it(wire: type[Wire]) -> None:
    head, body = wire.recording("midstream_engine_death")
    frames, error = await wire.streamed(head, *wire.chunks(body, 11))
    *before, death = payloads(body)
    assert b"EngineCore" in death
    assert frames == before
    assert isinstance(error, UpstreamStreamError)
    assert error.status == 500
    assert error.body == death
    assert "EngineCore" in error.detail
    assert "EngineCore" not in str(error)
    assert "(type InternalServerError)" in str(error)


@pytest.mark.parametrize("mode", ["fetch", "stream"])
@pytest.mark.parametrize(("name", "kind", "status", "sentence", "detail"), REFUSALS)
async def test_refusal_says_what_kind_it_is_and_keeps_the_servers_words_apart(
    name: str,
    kind: type[UpstreamError],
    status: int,
    sentence: str,
    detail: str,
    mode: str,
    wire: type[Wire],
) -> None:
    head, body = wire.recording(name)
    if mode == "stream":
        _, error = await wire.streamed(head + body)
    else:
        with pytest.raises(UpstreamError) as caught:
            await wire.fetched(head + body)
        error = caught.value
    assert type(error) is kind
    assert isinstance(error, UpstreamError)
    assert error.status == status
    assert sentence in str(error)
    assert error.detail.startswith(detail)
    assert detail not in str(error)
    assert error.body == body
