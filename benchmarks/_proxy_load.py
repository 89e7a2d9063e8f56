"""The clients of the proxies' benchmark; each run is a process of its own, which prints one JSON document.

``hits`` asks as fast as the answers come. ``rate`` asks at a fixed rate and times each answer from the
moment it was due. ``crowd`` holds streams open and reads a large answer slowly until it is ended.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from typing import Any, Final

import orjson

PATH: Final = "/v1/chat/completions"
KEY: Final = "sk-bench"
QUESTION: Final = "What does a cache in front of a language model do, and what does it not?"
LARGE: Final = "large"
SLOW: Final = "slow"
_SIP: Final = 16 * 2**10
_PAUSE: Final = 0.1
"""A slow reader takes so many bytes, and then so many seconds' rest."""


def message(question: str, *, stream: bool = False) -> bytes:
    """A whole HTTP request."""
    body = orjson.dumps(body_of(question, stream=stream))
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def body_of(question: str, *, stream: bool = False) -> dict[str, Any]:
    """What is asked."""
    body = {"model": "m", "messages": [{"role": "user", "content": question}]}
    return {**body, "stream": True} if stream else body


class Connection:
    """A kept-alive connection on which one request at a time is asked."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader: Final = reader
        self._writer: Final = writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**20))

    async def ask(self, asked: bytes) -> bool:
        """Whether it was answered 200."""
        self._writer.write(asked)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length))
        return head.startswith(b"HTTP/1.1 200")

    def close(self) -> None:
        self._writer.close()


async def hits(port: int, seconds: float, connections: int) -> dict[str, Any]:
    asked = message(QUESTION)
    times: list[float] = []
    wrong = 0
    end = time.perf_counter() + seconds

    async def one() -> None:
        nonlocal wrong
        connection = await Connection.open(port)
        while (began := time.perf_counter()) < end:
            wrong += not await connection.ask(asked)
            times.append(time.perf_counter() - began)
        connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return told(times, time.perf_counter() - began, wrong)


async def rate(port: int, seconds: float, each_second: int) -> dict[str, Any]:
    asked = message(QUESTION)
    times: list[float] = []
    wrong = 0
    idle: list[Connection] = []
    start = time.perf_counter()

    async def one(due: float) -> None:
        nonlocal wrong
        connection = idle.pop() if idle else await Connection.open(port)
        wrong += not await connection.ask(asked)
        times.append(time.perf_counter() - due)
        idle.append(connection)

    async with asyncio.TaskGroup() as tasks:
        for number in range(int(seconds * each_second)):
            due = start + number / each_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(due))
    for connection in idle:
        connection.close()
    return told(times, time.perf_counter() - start, wrong)


def told(times: list[float], seconds: float, wrong: int) -> dict[str, Any]:
    """The figures, in microseconds and requests a second."""
    ordered = sorted(times)
    of = {name: ordered[min(len(ordered) - 1, int(len(ordered) * part))] for name, part in _PARTS.items()}
    microseconds = {name: value * 1e6 for name, value in of.items()}
    return {"n": len(times), "wrong": wrong, "rate": len(times) / seconds, **microseconds}


_PARTS: Final = {"p50": 0.5, "p99": 0.99}


async def crowd(port: int, streams: int) -> None:
    async def listen(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(message(f"{SLOW} {number}", stream=True))
        await reader.readuntil(b"data: ")
        opened.release()
        while await reader.read(65536):
            pass

    async def sip() -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SIP)
        sock.setblocking(False)  # noqa: FBT003  (the socket's own signature)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, message(LARGE, stream=True))
        while await loop.sock_recv(sock, _SIP):
            sipping.set()
            await asyncio.sleep(_PAUSE)
        raise RuntimeError("the large answer was not large enough")

    opened, sipping = asyncio.Semaphore(0), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sip())
        await sipping.wait()
        for number in range(streams):
            tasks.create_task(listen(number))
            await opened.acquire()
        print("open", flush=True)


def main() -> None:
    kind, port, *sizes = sys.argv[1:]
    if kind == "crowd":
        asyncio.run(crowd(int(port), int(sizes[0])))
        return
    measure = hits if kind == "hits" else rate
    print(orjson.dumps(asyncio.run(measure(int(port), float(sizes[0]), int(sizes[1])))).decode())


if __name__ == "__main__":
    main()
