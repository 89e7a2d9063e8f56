"""The command line.

``demo`` needs the extras ``cli`` and ``server``, ``serve`` needs ``server``; ``search``, ``index`` and
``replay`` need ``semantic``.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from asynccache._errors import AsyncCacheError, ConfigurationError
from asynccache.cli._arguments import parse
from asynccache.cli._output import complain

__all__ = ["main"]

_FAILED = 1
_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code: 0 done, 1 failed, 130 interrupted. Wrong usage exits with 2.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an answer may hold what the terminal cannot show
    given = parse(arguments)
    try:
        code: int = _command(given.command).run(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        complain("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has left (`| head`). What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except AsyncCacheError as error:
        complain(str(error))
        return _FAILED
    except OSError as error:
        complain(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))
        return _FAILED
    return code


def _command(name: str) -> ModuleType:
    try:
        return import_module(f"asynccache.cli._{name}")
    except ImportError as error:
        # Those of other extras say so themselves.
        raise ConfigurationError(f'{name} needs {error.name}; pip install "asynccache[semantic]"') from error
