"""Processes that are killed at their work: forks of one that has imported what they need."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["victims"]

# A victim says when it is ready, and then what it likes: one pipe write of a line is whole or absent.
_FORKING = """
for line in sys.stdin:
    victim = os.fork()
    if not victim:
        asyncio.run(main(int(line), b"ready %d\\n" % os.getpid()))
    os.write(1, b"ended %d\\n" % os.waitpid(victim, 0)[1])
"""


class Victims:
    """Where they come from."""

    def __init__(self, parent: subprocess.Popen[bytes]) -> None:
        self._parent = parent

    def kill(self, number: int, after: float) -> list[bytes]:
        """Start the victim of a number and kill it seconds after it is ready; the lines it had written."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(b"%d\n" % number)
        self._parent.stdin.flush()
        ready, pid = self._parent.stdout.readline().split()
        assert ready == b"ready"
        try:
            time.sleep(after)  # real time: another process is to be hit at a random point
        finally:
            os.kill(int(pid), signal.SIGKILL)
        lines = []
        while not (line := self._parent.stdout.readline()).startswith(b"ended "):
            assert line
            lines.append(line)
        assert line == b"ended %d\n" % signal.SIGKILL  # and not of something else before
        return lines


@contextmanager
def victims(code: str, *arguments: str) -> Iterator[Victims]:
    """Run code that imports asyncio, os and sys, and defines ``async def main(number, ready)``.

    It writes the line ``ready`` to descriptor 1 when it is.
    """
    command = [sys.executable, "-c", code + _FORKING, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        yield Victims(parent)
        assert parent.stdin is not None
        parent.stdin.close()
        assert parent.wait(20) == 0
