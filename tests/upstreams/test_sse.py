"""The event decoder: bytes in, the very bytes of each event out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache.upstreams._sse import EventDecoder, EventTooLarge


def decoded(chunks: Iterable[bytes], limit: int = 1000) -> list[bytes]:
    decoder = EventDecoder(limit=limit)
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def single_bytes(text: bytes) -> list[bytes]:
    return [text[at : at + 1] for at in range(len(text))]


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"data: one\n\ndata: two\n\n", [b"one", b"two"]),
        (b"data: one\r\n\r\ndata: two\r\n\r\n", [b"one", b"two"]),
        (b"data: one\r\rdata: two\r\r", [b"one", b"two"]),
        (b"data: one\ndata: two\n\n", [b"one\ntwo"]),
        (b"data: one\r\ndata: two\r\n\r\n", [b"one\ntwo"]),
        (b"data:no space\n\n", [b"no space"]),
        (b"data:  two spaces\n\n", [b" two spaces"]),
        (b": keep-alive\n\ndata: one\n: in between\n\n", [b"one"]),
        (b"event: x\nid: 7\nretry: 5\ndata: one\n\n", [b"one"]),
        (b"id: 7\n\nevent: ping\n\n", []),
        (b"\xef\xbb\xbfdata: one\n\n", [b"one"]),
        (b"data\n\n", [b""]),
        (b"datax: one\n\n", []),
        (b"data: caf\xc3\xa9 \xe2\x80\xa8 \xff\n\n", [b"caf\xc3\xa9 \xe2\x80\xa8 \xff"]),
        (b"data: one\n\ndata: cut off", [b"one"]),
        (b"data: one\n\ndata: cut off\n", [b"one"]),
    ],
)
def test_each_event_comes_out_byte_for_byte_however_it_is_cut(text: bytes, events: list[bytes]) -> None:
    assert decoded([text]) == events
    assert decoded(single_bytes(text)) == events
    for place in range(len(text)):
        assert decoded([text[:place], text[place:]]) == events


def test_event_is_handed_on_as_soon_as_its_last_byte_is_there() -> None:
    decoder = EventDecoder(limit=100)
    assert list(decoder.feed(b"data: one\r\n")) == []
    assert list(decoder.feed(b"\r")) == [b"one"]
    assert list(decoder.feed(b"\ndata: two\r\n\r\n")) == [b"two"]


@pytest.mark.parametrize(
    "text", [b"data: 123456\n\n", b"data: 123456", b"data: 12\ndata: 34\n", b": 1234567890"]
)
def test_event_over_the_limit_is_refused(text: bytes) -> None:
    with pytest.raises(EventTooLarge):
        decoded([text], limit=10)
    with pytest.raises(EventTooLarge):
        decoded(single_bytes(text), limit=10)


def test_events_before_a_large_one_come_out_first() -> None:
    events = EventDecoder(limit=10).feed(b"data: one\n\ndata: much too long\n\n")
    assert next(events) == b"one"
    with pytest.raises(EventTooLarge):
        next(events)


def test_limit_counts_one_event_at_a_time() -> None:
    assert decoded([b"data: one\n\n" * 1000], limit=10) == [b"one"] * 1000


_LINES = st.lists(
    st.one_of(
        st.text(st.characters(exclude_characters="\r\n\ufeff", exclude_categories=["Cs"]), max_size=8).map(
            lambda text: "data: " + text
        ),
        st.sampled_from(["", "", "data", "data:x", ": comment", "event: e", "nonsense"]),
    ),
    max_size=20,
)


@given(_LINES, st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(0, 300), max_size=8))
def test_decoder_agrees_with_httpx2_on_valid_text(lines: list[str], end: str, cuts: list[int]) -> None:
    # The comment at the end: httpx2 takes a CR that ends the stream for two line ends.
    text = ("".join(line + end for line in lines) + ":").encode()
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    chunks = [text[start:stop] for start, stop in pairwise(places)]

    async def theirs() -> list[bytes]:
        async def body() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

        request = httpx2.Request("GET", "http://x")
        headers = {"content-type": "text/event-stream"}
        response = httpx2.Response(200, headers=headers, content=body(), request=request)
        return [event.data.encode() async for event in httpx2.EventSource(response) if event.data]

    assert [event for event in decoded(chunks) if event] == asyncio.run(theirs())
