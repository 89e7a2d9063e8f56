"""Cancel a coroutine at each of its suspension points in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, TypeAlias

import anyio

__all__ = ["cancel_at_every_step"]

_STEP_LIMIT: Final = 1000  # a coroutine with more suspension points than this is taken for endless

_Cancel: TypeAlias = "Callable[[asyncio.Task[Any], anyio.CancelScope, object], None]"
"""Called in the task at the chosen suspension, with what the coroutine is about to wait for."""


def _at_once(task: asyncio.Task[Any], scope: anyio.CancelScope, awaited: object) -> None:  # noqa: ARG001
    """1. ``task.cancel()`` before anything waited for has happened."""
    task.cancel()


def _too_late(task: asyncio.Task[Any], scope: anyio.CancelScope, awaited: object) -> None:  # noqa: ARG001
    """2. ``task.cancel()`` between the arrival of the result and its receipt: the result is lost."""
    if isinstance(awaited, asyncio.Future):
        # Added before the task adds its own wake-up, and so called before it.
        awaited.add_done_callback(lambda _: task.cancel())
    else:
        task.cancel()


def _by_scope(task: asyncio.Task[Any], scope: anyio.CancelScope, awaited: object) -> None:  # noqa: ARG001
    """3. An anyio scope, which cancels again at every later suspension that is not shielded."""
    scope.cancel()


_WAYS: Final[tuple[_Cancel, ...]] = (_at_once, _too_late, _by_scope)


class _Stepper:
    """Awaits a coroutine, counting its suspensions, and acts at one of them."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, object], step: int, act: Callable[[object], None]
    ) -> None:
        self._coroutine = coroutine
        self._step = step
        self._act = act
        self.steps = 0

    def __await__(self) -> Generator[Any, Any, None]:
        error: BaseException | None = None
        while True:
            try:
                awaited = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
            except StopIteration:
                return
            error = None
            self.steps += 1
            if self.steps == self._step:
                self._act(awaited)
            try:
                yield awaited
            except BaseException as raised:  # noqa: BLE001  (passed on to the coroutine)
                error = raised


async def cancel_at_every_step(
    make_coroutine: Callable[[], Coroutine[Any, Any, object]],
    check: Callable[[], Awaitable[object]] | None = None,
) -> int:
    """Run a coroutine again and again, cancelled at its first, second, ... suspension, to its end.

    Each suspension is cancelled in three ways: by ``Task.cancel()`` at once, by ``Task.cancel()`` when
    what was waited for has just arrived, and by an anyio cancel scope.

    Args:
        make_coroutine: makes a fresh coroutine for every run.
        check: awaited after every run; it raises when the cancelled run left damage.

    Returns:
        The number of suspension points of the last, uncancelled run; 0 when the coroutine never
        suspends.

    Raises:
        AssertionError: the coroutine went on as if it had not been cancelled, or never ends.
        Exception: whatever the coroutine raised instead of being cancelled, or ``check`` raised.
    """
    for step in range(1, _STEP_LIMIT + 1):
        for way in _WAYS:
            steps = await _run(make_coroutine(), step, way)
            if check is not None:
                await check()
            if steps < step:
                return steps
    raise AssertionError(f"the coroutine was still going after {_STEP_LIMIT} suspensions")


async def _run(coroutine: Coroutine[Any, Any, object], step: int, cancel: _Cancel) -> int:
    """Run to the end or to a cancellation at ``step``; the number of suspensions seen."""
    steps = 0
    finished = False
    failure: Exception | None = None

    async def child() -> None:
        nonlocal steps, finished, failure
        task = asyncio.current_task()
        if task is None:  # for the type checkers: a coroutine that runs has a task
            raise RuntimeError("no running task")
        with anyio.CancelScope() as scope:
            stepper = _Stepper(coroutine, step, lambda awaited: cancel(task, scope, awaited))
            try:
                await stepper
                finished = True
            except asyncio.CancelledError:
                if scope.cancel_called:
                    raise  # ends at the scope
            except Exception as error:  # noqa: BLE001  (raised again outside the group)
                failure = error
            finally:
                steps = stepper.steps

    async with anyio.create_task_group() as group:
        group.start_soon(child)
    if failure is not None:
        raise failure
    # A scope never takes away a result that has arrived, so its coroutine may end well.
    if finished and steps >= step and cancel is not _by_scope:
        raise AssertionError(f"cancelled at suspension {step} (way {cancel.__name__}), it went on to its end")
    return steps
