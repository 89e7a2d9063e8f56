"""What a fork must not carry into the child: open database connections, locks held by other threads."""

from __future__ import annotations

import os
import threading
from typing import Final, Protocol
from weakref import WeakSet

__all__ = ["ForkAware", "watch_forks"]


class ForkAware(Protocol):
    """Something that steps aside while the process is forked. Each method is called in the forking thread."""

    def before_fork(self) -> None:
        """Finish what other threads are doing, give up what must not be inherited, and hold still."""
        ...

    def after_fork_in_parent(self) -> None:
        """Go on."""
        ...

    def after_fork_in_child(self) -> None:
        """Start afresh: no thread, event loop or lock of the parent exists here."""
        ...


_watched: WeakSet[ForkAware] = WeakSet()  # added to by watch_forks; objects leave by dying
_held: list[ForkAware] = []  # those of the fork under way; written only while _turn is held
_turn = threading.Lock()  # from before a fork until after it: one thread forks at a time


def watch_forks(something: ForkAware) -> None:
    """Call the methods of ``something`` around every fork of this process, for as long as it lives."""
    _watched.add(something)


def _before() -> None:
    _turn.acquire()
    _held.extend(_watched)
    for each in _held:
        each.before_fork()


def _in_parent() -> None:
    for each in _held:
        each.after_fork_in_parent()
    _held.clear()
    _turn.release()


def _in_child() -> None:
    for each in _held:
        each.after_fork_in_child()
    _held.clear()
    _turn.release()


_CAN_FORK: Final = hasattr(os, "register_at_fork")
if _CAN_FORK:
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
