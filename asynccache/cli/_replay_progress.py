"""How far a replay has come, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

__all__ = ["Begin", "progress"]

Begin: TypeAlias = Callable[[str, int], Callable[[int], object]]
"""Called with a name and a number of steps when a part of the work begins; gives what to call after some of
them, with how many."""

_EVERY: Final = 25
"""Steps between two looks at the clock of the bar."""


@contextmanager
def progress() -> Iterator[Begin]:
    """A bar on standard error while it lasts, if that is a terminal."""
    if not sys.stderr.isatty():
        yield _unseen
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:  # of the extra "cli", and nothing else here needs it
        yield _unseen
        return
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:

        def begin(name: str, steps: int) -> Callable[[int], object]:
            task = bar.add_task(name, total=steps)
            done = 0

            def advance(count: int) -> None:
                nonlocal done
                before, done = done, done + count
                if done == steps or before // _EVERY != done // _EVERY:
                    bar.update(task, completed=done)

            return advance

        yield begin


def _unseen(_: str, __: int) -> Callable[[int], object]:
    return lambda _: None
