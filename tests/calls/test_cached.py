"""What a cached function remembers, for how long, and of whom."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import threading
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass
from typing import TYPE_CHECKING, Any, assert_type

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache._cached import AsyncCached, Cached, CacheStats, cached
from asynccache._errors import ConfigurationError, InvalidRequest
from asynccache.testing import FakeClock

pytestmark = pytest.mark.anyio


class Counted:
    """A function that tells how often it ran."""

    def __init__(self, answer: Callable[..., Any] = lambda *args, **kwargs: (args, kwargs)) -> None:
        self.runs = 0
        self._answer = answer

    def run(self, *args: Any, **kwargs: Any) -> Any:
        self.runs += 1
        return self._answer(*args, **kwargs)


async def test_async_function_runs_once_for_equal_arguments() -> None:
    counted = Counted()

    @cached
    async def function(a: int, b: int = 2) -> Any:
        return counted.run(a, b)

    assert await function(1) is await function(1, 2) is await function(b=2, a=1)
    assert counted.runs == 1
    assert await function(2) == ((2, 2), {})
    assert counted.runs == 2
    assert function.cache_stats() == CacheStats(
        hits=2, misses=2, shared=0, evictions=0, expired=0, size=2, refused=0, errors=0
    )


def test_plain_function_runs_once_for_equal_arguments() -> None:
    counted = Counted()

    @cached()
    def function(a: int, b: int = 2) -> Any:
        return counted.run(a, b)

    assert function(1) is function(1, 2) is function(b=2, a=1)
    assert counted.runs == 1
    assert function.cache_stats().hit_rate == pytest.approx(2 / 3)


async def test_one_true_and_one_point_zero_are_three_calls() -> None:
    @cached
    async def kind(x: object) -> str:
        return type(x).__name__

    assert [await kind(x) for x in (1, True, 1.0, 1, True, 1.0)] == ["int", "bool", "float"] * 2


async def test_none_is_a_result_like_any_other() -> None:
    counted = Counted(lambda: None)

    @cached
    async def later() -> Any:
        return counted.run()

    @cached
    def now() -> Any:
        return counted.run()

    assert [await later(), await later(), now(), now()] == [None] * 4
    assert counted.runs == 2


async def test_exception_reaches_the_caller_and_is_not_kept() -> None:
    counted = Counted(lambda: 1 / 0)

    @cached
    async def later() -> Any:
        return counted.run()

    @cached
    def now() -> float:
        return float(counted.run())

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await later()
        with pytest.raises(ZeroDivisionError):
            now()
    assert counted.runs == 4
    assert later.cache_stats().size == now.cache_stats().size == 0


async def test_wrong_arguments_raise_what_the_function_raises() -> None:
    @cached
    async def later(a: int) -> int:
        return a

    @cached
    def now(a: int) -> int:
        return a

    with pytest.raises(TypeError, match=r"later\(\) missing 1 required positional argument: 'a'"):
        await later()  # type: ignore[call-arg]  # on purpose
    with pytest.raises(TypeError, match=r"now\(\) got an unexpected keyword argument 'b'"):
        now(1, b=2)  # type: ignore[call-arg]  # on purpose
    assert later.cache_stats().misses == 0


async def test_argument_that_cannot_be_a_key_is_an_error_that_names_it() -> None:
    @cached
    async def function(prompt: str, lock: object = None) -> str:
        return prompt

    with pytest.raises(
        InvalidRequest, match=r"lock: a value of type _thread\.lock cannot be part of a key; give key="
    ):
        await function("secret", threading.Lock())


async def test_result_of_the_key_function_stands_for_the_arguments() -> None:
    @cached(key=lambda lock, name: name)
    async def function(lock: object, name: str) -> str:
        return name + type(lock).__name__

    assert await function(1, "a") == await function("other", "a") == "aint"
    assert await function("other", "b") == "bstr"


async def test_result_is_never_served_from_its_expiry_on() -> None:
    clock = FakeClock()
    counted = Counted()

    @cached(ttl=10, clock=clock)
    async def function() -> Any:
        return counted.run()

    await function()
    clock.advance(9.5)
    await function()
    assert counted.runs == 1
    clock.advance(0.5)
    await function()
    assert counted.runs == 2
    assert function.cache_stats().expired == 1


async def test_setting_the_wall_clock_does_not_change_what_is_in_memory() -> None:
    clock = FakeClock()
    counted = Counted()

    @cached(ttl=10, clock=clock)
    async def function() -> Any:
        return counted.run()

    for seconds in (0, 3600, -7200):
        clock.jump(seconds)
        await function()
    assert counted.runs == 1


class ReferenceCache:
    """What @cached should do, in the simplest words."""

    def __init__(self, ttl: float, size: int) -> None:
        self.ttl, self.size = ttl, size
        self.items: OrderedDict[int, float] = OrderedDict()
        self.hits = self.misses = self.evictions = self.expired = 0

    def call(self, x: int, now: float) -> None:
        if x in self.items and now < self.items[x]:
            self.hits += 1
            self.items.move_to_end(x)
            return
        self.misses += 1
        if self.items.pop(x, None) is not None:
            self.expired += 1
        elif len(self.items) == self.size:
            self.evictions += 1
            self.items.popitem(last=False)
        self.items[x] = now + self.ttl


@given(
    size=st.integers(1, 4),
    ttl=st.sampled_from([None, 1, 3]),
    steps=st.lists(st.integers(0, 5) | st.sampled_from(["tick", "clear"]), max_size=40),
)
def test_any_sequence_of_calls_agrees_with_a_plain_model(
    size: int, ttl: float | None, steps: list[int | str]
) -> None:
    clock = FakeClock()
    counted = Counted(lambda x: x)
    function = cached(ttl=ttl, max_size=size, clock=clock)(lambda x: counted.run(x))  # noqa: PLW0108  (a function, not a bound method)
    model = ReferenceCache(float("inf") if ttl is None else ttl, size)
    for step in steps:
        if step == "tick":
            clock.advance(1)
        elif step == "clear":
            function.cache_clear()
            model.items.clear()
        else:
            assert function(step) == step
            model.call(int(step), clock.monotonic())
        stats = function.cache_stats()
        assert (stats.hits, stats.misses) == (model.hits, model.misses)
        assert (stats.evictions, stats.expired, stats.size) == (
            model.evictions,
            model.expired,
            len(model.items),
        )
        assert counted.runs == model.misses


async def test_clear_forgets_at_once_and_can_be_awaited() -> None:
    counted = Counted()

    @cached
    async def function() -> Any:
        return counted.run()

    await function()
    function.cache_clear()
    await function()
    await function.cache_clear()
    await function()
    assert counted.runs == 3
    assert function.cache_stats().hits == 0


async def test_call_begun_before_a_clear_is_not_kept_and_not_joined_after_it() -> None:
    begun = [asyncio.Event(), asyncio.Event()]
    gates = [asyncio.Event(), asyncio.Event()]
    runs: list[int] = []

    @cached
    async def function() -> int:
        runs.append(len(runs))
        mine = runs[-1]
        begun[mine].set()
        await gates[mine].wait()
        return mine

    async with asyncio.TaskGroup() as group:
        before = group.create_task(function())
        await begun[0].wait()
        function.cache_clear()
        after = group.create_task(function())
        await begun[1].wait()
        gates[1].set()
        assert await after == 1
        gates[0].set()
        assert await before == 0
    assert await function() == 1


async def test_methods_are_cached_for_each_instance_alone() -> None:
    class Model:
        def __init__(self, name: str) -> None:
            self.name = name

        def __eq__(self, other: object) -> bool:
            return True  # equal to all, and not hashable: identity alone tells them apart

        __hash__ = None  # type: ignore[assignment]  # as Python has it

        @cached
        async def later(self, x: int) -> str:
            return f"{self.name}{x}"

        @cached
        def now(self, x: int) -> str:
            return f"{self.name}{x}"

        @classmethod
        @cached
        async def made(cls, x: int) -> str:
            return f"{cls.__name__}{x}"

        @staticmethod
        @cached
        def alone(x: int) -> int:
            return x

    class Child(Model):
        pass

    a, b = Model("a"), Model("b")
    assert [await a.later(1), await b.later(1), await a.later(x=1)] == ["a1", "b1", "a1"]
    assert [a.now(1), b.now(1), a.now(1)] == ["a1", "b1", "a1"]
    assert [await Model.made(1), await Child.made(1), await Model.made(1)] == ["Model1", "Child1", "Model1"]
    assert Model.alone(1) == a.alone(1) == 1  # type: ignore[call-arg]  # mypy sees a classmethod there
    assert (Model.later.cache_stats().hits, a.later.cache_stats().misses) == (1, 2)
    assert Model.made.cache_stats().hits == Model.alone.cache_stats().hits == 1


async def test_instance_is_not_kept_alive_and_its_successor_gets_nothing_of_it() -> None:
    class Model:
        def __init__(self, name: int) -> None:
            self.name = name

        @cached
        async def answer(self) -> int:
            return self.name

    for name in range(20):
        model = Model(name)  # often at the address of the one before
        assert await model.answer() == name
        gone = weakref.ref(model)
        del model
        gc.collect()
        assert gone() is None


async def test_wrapper_is_a_real_function() -> None:
    async def later(a: int, b: str = "x") -> float:
        """Its words."""
        return a + 0.5

    def now(a: int) -> float:
        return a + 0.5

    cached_later, cached_now = cached(later), cached(now)
    assert inspect.iscoroutinefunction(cached_later)
    assert not inspect.iscoroutinefunction(cached_now)
    assert cached_later.__wrapped__ is later
    assert cached_now.__wrapped__ is now
    assert (cached_later.__name__, cached_later.__doc__) == ("later", "Its words.")  # type: ignore[attr-defined]
    assert inspect.signature(cached_later) == inspect.signature(later)


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("ttl", 0, "ttl: expected more than 0 seconds"),
        ("ttl", -1, "ttl"),
        ("ttl", float("nan"), "ttl"),
        ("ttl", float("inf"), "ttl"),
        ("ttl", True, "ttl"),
        ("ttl", "60", "ttl"),
        ("max_size", 0, "max_size: expected 1 or more"),
        ("max_size", True, "max_size"),
        ("max_size", 1.5, "max_size"),
        ("version", 1, "version: expected a string"),
        ("key", "id", "key: expected a function"),
        ("backend", "redsi://x", "unknown backend scheme 'redsi'"),
        ("backend", "nonsense", "not a backend URL"),
        ("backend", 5, "expected a URL or a Backend, got int"),
        ("backend", "memory://?max_entries=3", "its budget is max_size"),
    ],
)
def test_option_that_cannot_work_is_refused_with_a_sentence(option: str, value: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        cached(**{option: value})


@pytest.mark.parametrize(
    ("thing", "sentence"),
    [
        ("sqlite:///x.db", "expected a function, got a str; options are given by name"),
        (dict, "got the class dict"),
        (functools.partial(print), "got a partial"),
        ("".join, "expected a function"),
        (classmethod(lambda cls: 1), "put @cached below @classmethod"),
        (staticmethod(lambda: 1), "put @cached below @staticmethod"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_function_is_refused_with_a_sentence(thing: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        cached(thing)


def test_generators_are_refused() -> None:
    def plain() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (plain, later):
        with pytest.raises(ConfigurationError, match="read only once: return a list"):
            cached(function)


async def test_result_that_can_be_used_only_once_is_refused() -> None:
    async def answer() -> int:
        return 1

    def as_decorated_by_others() -> Awaitable[int]:
        return answer()

    def numbers() -> Iterator[int]:
        return (number for number in [1])

    for function in (as_decorated_by_others, numbers):
        with pytest.raises(ConfigurationError, match="can be used only once"):
            cached(function)()


async def test_memory_url_is_the_store_in_memory_alone() -> None:
    @cached(backend="memory://")
    async def function(x: object) -> object:
        return x

    value = object
    assert await function(value) is value
    assert await function(value) is value
    assert (function.cache_stats().hits, function.cache_stats().refused) == (1, 0)


def test_stats_are_a_frozen_snapshot() -> None:
    function = cached(lambda: 1)
    stats = function.cache_stats()
    assert stats.hit_rate == 0
    with pytest.raises(FrozenInstanceError):
        stats.hits = 5  # type: ignore[misc]  # on purpose
    function()
    assert stats.misses == 0


def test_finalizer_that_calls_the_function_while_a_result_is_dropped_does_no_harm() -> None:
    class Loud:
        def __del__(self) -> None:
            seen.append(function(0))

    seen: list[object] = []
    function = cached(max_size=1)(lambda x: 0 if x == 0 else Loud())
    for x in (1, 2, 3):
        function(x)
    gc.collect()
    assert seen


if TYPE_CHECKING:

    @dataclass
    class Typed:
        @cached(ttl=1)
        async def later(self, a: int, *, b: str = "") -> float: ...

        @cached
        def now(self, a: int) -> float: ...

        @classmethod
        @cached
        async def made(cls, a: int) -> str: ...

        @staticmethod
        @cached
        def alone(a: int) -> int: ...

    @cached
    async def typed_later(a: int) -> float: ...

    @cached(max_size=3)
    def typed_now(a: int) -> float: ...

    async def typed() -> None:
        assert_type(await typed_later(1), float)
        assert_type(typed_now(a=1), float)
        assert_type(await Typed().later(1, b="x"), float)
        assert_type(Typed().now(1), float)
        assert_type(await typed_later.cache_clear(), None)
        assert_type(typed_now.cache_stats(), CacheStats)
        assert_type(await typed_later.__wrapped__(1), float)
        later: AsyncCached[[int], float] = typed_later
        now: Cached[[int], float] = typed_now
        assert_type(await Typed.made(1), str)
        assert_type(await Typed().made(1), str)
        # mypy takes what it finds on a class for a classmethod
        assert_type(Typed.alone(1), int)  # type: ignore[call-arg]
        assert_type(Typed().alone(1), int)  # type: ignore[call-arg]
        await later("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        now("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        Typed().now("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
