"""One real redis-server on the loopback interface, for as long as a test needs it."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from asynccache.testing._redis_ports import free_port, wait_until
from asynccache.testing._redis_reply import Reply, command

__all__ = ["RedisServer"]

_STARTS: Final = 10  # another process may take a port between its probe and the server's start
_START_SECONDS: Final = 15.0
_END_SECONDS: Final = 10.0

# Asks Linux to kill the server when the thread that starts it is gone, then becomes the server.
_TIED: Final = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9)\n"
    "if os.getppid() == int(sys.argv[1]): os.execv(sys.argv[2], sys.argv[2:])\n"
)

_SOUND: Final = (
    "bind 127.0.0.1",
    "protected-mode no",
    "daemonize no",
    'save ""',
    "appendonly no",
    "repl-diskless-sync-delay 0",
)


class RedisServer:
    """A redis-server process on 127.0.0.1; ``with`` starts and stops it.

    Nothing is saved: a restarted server is empty, unless ``config`` says otherwise. All calls block,
    none for longer than some seconds. On Linux a server that the main thread started dies with its
    process, however that ends; elsewhere it is stopped when the interpreter exits.

    Args:
        folder: where the server's own folder is made, with its configuration and its log; None is a
            temporary one that is removed by ``stop``.
        port: the port to listen on; None takes a free one.
        config: further lines of its configuration, such as ``"maxmemory 10mb"``.
        password: what clients have to give; None for none.
        arguments: further words of its command line.
        executable: the server's name or path.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        port: int | None = None,
        config: Sequence[str] = (),
        password: str | None = None,
        arguments: Sequence[str] = (),
        executable: str = "redis-server",
    ) -> None:
        self._folder = folder
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._home: Path | None = None  # made by the first start
        self._port = port
        self._config = [*_SOUND, *config]
        self._password = password
        if password is not None:
            quoted = password.replace("\\", "\\\\").replace('"', '\\"')
            self._config += [f'requirepass "{quoted}"', f'masterauth "{quoted}"']
        self._arguments = tuple(arguments)
        self._executable = executable
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # the process that started it last

    @property
    def port(self) -> int:
        """The port. Raises RuntimeError before the first start, when none was given."""
        if self._port is None:
            raise RuntimeError("the server has no port yet: start it first")
        return self._port

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:port``, with the password if there is one."""
        secret = "" if self._password is None else f":{quote(self._password, safe='')}@"
        return f"redis://{secret}127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process exists, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process. Raises RuntimeError when the server does not run."""
        return self._running_process().pid

    @property
    def log(self) -> str:
        """What the server wrote so far; empty when there is no file of it yet, or any more."""
        if self._home is None or not (path := self._home / "redis.log").exists():
            return ""
        return path.read_text(encoding="utf-8", errors="replace")

    def command(self, *words: str | bytes | float, seconds: float = 5.0) -> Reply:
        """Run one command on a connection of its own.

        Raises:
            ReplyError: the server answered with an error.
            OSError: the server cannot be reached, or is silent for ``seconds``.
        """
        return command(self.port, *words, password=self._password, seconds=seconds)

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            FileNotFoundError: there is no such executable.
            RuntimeError: it runs already, or ended at once; the message has the end of its log.
            TimeoutError: it does not answer.
        """
        if self.running:
            raise RuntimeError(f"the server on port {self.port} runs already")
        executable = shutil.which(self._executable)
        if executable is None:
            raise FileNotFoundError(
                f"{self._executable!r} was not found; install Redis "
                "(Debian, Ubuntu: apt install redis-server; macOS: brew install redis)"
            )
        try:
            self._start(executable)
        except BaseException:
            self.stop()
            raise

    def _start(self, executable: str) -> None:
        home = self._make_home()
        self._owner = os.getpid()
        atexit.register(self._stop_at_exit)
        for _ in range(_STARTS if self._port is None else 1):
            port = free_port() if self._port is None else self._port
            if self._launch([executable, "redis.conf", *self._arguments], home, port):
                self._port = port
                return
            if "address already in use" not in self.log.lower():
                break
        raise RuntimeError(f"{self._executable} ended at once; the end of its log:\n{self.log[-2000:]}")

    def _make_home(self) -> Path:
        if self._home is None:
            if self._folder is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="redis-")
                self._home = Path(self._temporary.name)
            else:
                Path(self._folder).mkdir(parents=True, exist_ok=True)
                self._home = Path(tempfile.mkdtemp(prefix="redis-", dir=self._folder))
        return self._home

    def _launch(self, words: list[str], home: Path, port: int) -> bool:
        """Start the process and wait for it; False when it ended by itself."""
        if self._port is None or not (home / "redis.conf").exists():
            # Not on a restart: the server keeps there who its master is.
            lines = [f"port {port}", *self._config, ""]
            (home / "redis.conf").write_text("\n".join(lines), encoding="utf-8")
        if (
            sys.platform == "linux"
            and sys.executable
            and threading.current_thread() is threading.main_thread()
        ):
            words = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *words]
        with (home / "redis.log").open("wb" if self._port is None else "ab") as log:
            process = self._process = subprocess.Popen(  # noqa: S603  (words of the test's author)
                words,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which stop their servers
            )

        def answers() -> bool:
            if process.poll() is not None:
                return True
            info = command(port, "INFO", "server", password=self._password, seconds=1.0)
            # On a port somebody else took meanwhile, their server answers.
            return isinstance(info, bytes) and b"process_id:%d\r" % process.pid in info

        try:
            wait_until(answers, what=f"start of {self._executable} on port {port}", seconds=_START_SECONDS)
        except BaseException:
            self.kill()
            raise
        return process.poll() is None

    def kill(self) -> None:
        """End the process at once (SIGKILL), paused or not; no harm when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_END_SECONDS)
            self._process = None

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): it accepts connections and answers nothing."""
        self._running_process().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        self._running_process().send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """End the process if it runs, and start it on the same port with the configuration it had."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End the process and remove a temporary folder; no harm when that is done already."""
        self.kill()
        atexit.unregister(self._stop_at_exit)
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = self._home = None

    def _stop_at_exit(self) -> None:
        if os.getpid() == self._owner:  # not in a fork of it
            self.stop()

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError("the server does not run")
        return self._process

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<RedisServer 127.0.0.1:{self._port} {'running' if self.running else 'down'}>"
