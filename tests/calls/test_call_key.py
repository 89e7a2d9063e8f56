"""Equal calls have equal keys, different calls have different ones."""

from __future__ import annotations

import datetime as dt
import functools
import gc
import math
import subprocess
import sys
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, Flag, IntEnum, auto
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from asynccache._calls.key import CallKey
from asynccache._calls.results import from_json, to_json
from asynccache._calls.values import MAX_DEPTH, InstanceTokens, Unencodable, ValueEncoder
from asynccache._errors import InvalidRequest

LOCAL = ValueEncoder(InstanceTokens()).encode
DURABLE = ValueEncoder(None).encode


class Colour(Enum):
    RED = "red"
    ROUGE = "red"  # noqa: PIE796  (an alias is what is tested)
    BLUE = "blue"


class Level(IntEnum):
    ONE = 1


class Rights(Flag):
    READ = auto()
    WRITE = auto()


@dataclass
class Point:
    x: Any
    y: Any = 0


@dataclass
class Place:
    x: Any
    y: Any = 0


class PointPlus(Point):
    """Not a dataclass of its own: may carry what no field shows."""


@dataclass
class DictWithFields(dict[str, int]):
    x: int = 0


class Pair(NamedTuple):
    x: Any
    y: Any


class Message(BaseModel):
    content: Any


class Assistant(Message):
    tools: int = 0


class Chat(BaseModel):
    messages: list[Message]
    secret: str = Field(default="", exclude=True)


def spelled(value: object, encode: Callable[[object], Any] = DURABLE) -> bytes:
    return orjson.dumps(encode(value), option=orjson.OPT_SORT_KEYS)


# A model of "the same argument", written apart from the encoder.
def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Point):
        return same(a.x, b.x) and same(a.y, b.y)
    if isinstance(a, dict):
        return same_bag(list(a.items()), list(b.items()))
    if isinstance(a, (set, frozenset)):
        return same_bag(list(a), list(b))
    return bool(a == b)


def same_bag(left: list[Any], right: list[Any]) -> bool:
    right = list(right)
    for item in left:
        at = next((index for index, other in enumerate(right) if same(item, other)), None)
        if at is None:
            return False
        del right[at]
    return not right


# Few distinct atoms, so that equal values are drawn often; look-alikes of different types on purpose.
ATOMS = st.text(max_size=2) | st.sampled_from(
    [
        None, True, False, 0, 1, -1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**16, Level.ONE,
        0.0, -0.0, 1.0, 1e16, math.nan, math.inf, -math.inf, 0j, 1 + 0j, Decimal(1),
        "", "1", "a", "int", "tuple", "\ud800", "ü", b"", b"a", Colour.RED, Colour.BLUE,
        dt.date(2026, 1, 2), UUID(int=1), int, str, Point, PurePosixPath("a"),
    ]
)  # fmt: skip
KEYS = ATOMS | st.tuples(ATOMS, ATOMS)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "\ud800"]), inner, max_size=2)
        | st.sets(ATOMS, max_size=3)
        | st.frozensets(ATOMS, max_size=3)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=6,
)


@given(VALUES, VALUES)
def test_encodings_are_equal_exactly_when_the_values_are(a: object, b: object) -> None:
    assert (spelled(a) == spelled(b)) == same(a, b)
    assert spelled(a) == spelled(a, LOCAL)


@given(st.data(), VALUES)
def test_a_value_made_anew_in_another_order_has_the_same_encoding(data: st.DataObject, value: object) -> None:
    def anew(value: Any) -> Any:
        if isinstance(value, dict):
            return {anew(key): anew(value[key]) for key in data.draw(st.permutations(list(value)))}
        if isinstance(value, (set, frozenset)):
            return type(value)(data.draw(st.permutations(list(value))))
        if isinstance(value, (list, tuple)):
            return type(value)(map(anew, value))
        return Point(anew(value.x), anew(value.y)) if isinstance(value, Point) else value

    assert spelled(anew(value)) == spelled(value)


DISTINCT = [
    1, 1.0, True, "1", b"1", bytearray(b"1"), 1 + 0j, Decimal(1), Decimal("1.0"), Level.ONE, Decimal("NaN"),
    0, 0.0, -0.0, math.nan, None, "nan", "None", Decimal("-0"), Decimal("Infinity"),
    [], (), {}, set(), frozenset(), [1], (1,), {1}, frozenset({1}), {"a": 1}, {1: 1}, {True: 1}, {"1": 1},
    ["int", "1"], ["tuple"], ["dict"], ["set"], ["float", "nan"], ["str", "eda080"], "\ud800",
    ["type", "builtins:int"],
    {"a": {}}, {"a": []}, [[], []], [[[]]], [["tuple"]], [()], ["a", "b"], ["ab"], ["a,b"],
    Colour.RED, Colour.BLUE, Rights.READ, Rights.READ | Rights.WRITE, Colour, int, type(None),
    dt.date(2026, 1, 2), dt.datetime(2026, 1, 2),  # noqa: DTZ001  (naive on purpose)
    dt.time(1), dt.time(1, fold=1), dt.timedelta(1),
    dt.datetime(2026, 1, 2, fold=1),  # noqa: DTZ001
    dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.timedelta(microseconds=1),
    dt.datetime(2026, 1, 2, tzinfo=ZoneInfo("UTC")), dt.datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Paris")),
    dt.datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Rome")), dt.time(1, tzinfo=dt.UTC),
    dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(0), "other")), dt.UTC, ZoneInfo("Europe/Rome"),
    UUID(int=1), UUID(int=1).hex, PurePosixPath("a"), PureWindowsPath("a"), Path("a"), "a",
    Point(1), Point(1, True), Point(0, 1), Place(1), Point(Point(1)), Pair(1, 0), (1, 0), {"x": 1, "y": 0},
    Message(content=1), Message(content="1"), Assistant(content=1), Chat(messages=[Message(content=1)]),
    Chat(messages=[Assistant(content=1)]), Chat(messages=[Assistant(content=1, tools=1)]),
    Chat(messages=[Message(content=1)], secret="x"), 2**63, 2**64, -(2**63) - 1, f"{2**63:x}",
]  # fmt: skip


def test_values_that_look_alike_have_different_encodings() -> None:
    spellings: dict[bytes, object] = {}
    for value in DISTINCT:
        other = spellings.setdefault(spelled(value, LOCAL), value)
        assert other is value, (other, value)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Colour.RED, Colour.ROUGE),
        (float("nan"), -float("nan")),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1: 1, "b": 2}, {"b": 2, 1: 1}),
        (Message(content=[1]), Message(content=[1])),
        (Path("a") / "b", Path("a/b")),
    ],
)
def test_values_that_are_the_same_have_one_encoding(a: object, b: object) -> None:
    assert spelled(a) == spelled(b)


class Reveals:
    def _refuse(self, *_: object) -> Any:
        raise AssertionError("asked for its own words")

    __str__ = __repr__ = __hash__ = __eq__ = __reduce__ = _refuse


@pytest.mark.parametrize(
    "value",
    [
        object(), Reveals(), [Reveals()], {"a": Reveals()}, lambda: None, OrderedDict(a=1), iter(""),
        type("Text", (str,), {})("a"), PointPlus(1), DictWithFields(), memoryview(b""), Point(Reveals()),
        type("Sub", (Pair,), {})(1, 2), type("Zone", (dt.tzinfo,), {})(),
        dt.datetime(2026, 1, 1, tzinfo=type("Zone", (dt.tzinfo,), {})()),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_with_its_type_and_without_its_words(value: object) -> None:
    with pytest.raises(Unencodable, match="of type"):
        LOCAL(value)


def test_deep_nesting_is_encoded_and_deeper_or_endless_nesting_is_refused() -> None:
    def nested(levels: int, wrap: Callable[[object], object]) -> object:
        value: object = 1
        for _ in range(levels):
            value = wrap(value)
        return value

    for wrap in (lambda v: [v], lambda v: {"a": v}, lambda v: {1: v}, Point, lambda v: (v,)):
        spelled(nested(MAX_DEPTH, wrap))
        with pytest.raises(Unencodable, match="nested"):
            LOCAL(nested(MAX_DEPTH + 1, wrap))
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(Unencodable, match="contains itself"):
        LOCAL(endless)


def test_types_made_at_run_time_are_told_apart_in_one_process_and_refused_for_others() -> None:
    one, two = create_model("Answer", x=(int, 0)), create_model("Answer", y=(str, ""))
    assert spelled(one, LOCAL) != spelled(two, LOCAL)
    assert spelled(one, LOCAL) == spelled(one, LOCAL)
    with pytest.raises(Unencodable, match="other processes"):
        DURABLE(one)
    assert spelled(one(x=1)) == spelled(one(x=1))  # an instance goes by its type's name and its fields


def test_namedtuple_factory_is_known_by_its_fields() -> None:
    made = namedtuple("made", "a b")  # noqa: PYI024
    assert spelled(made(1, 2)) != spelled(made(2, 1))
    assert spelled(made(1, 2)) == spelled(made(1, 2))


def test_token_is_never_given_twice_and_keeps_nothing_alive() -> None:
    class Thing:
        pass

    tokens = InstanceTokens()
    seen = set()
    for _ in range(100):  # CPython gives such objects the same address again and again
        thing = Thing()
        assert tokens.token(thing) == tokens.token(thing)
        seen.add(tokens.token(thing))
        del thing
    gc.collect()
    assert len(seen) == 100
    assert not tokens._known


def key_of(function: Callable[..., object], *, durable: bool = False, **options: Any) -> Callable[..., bytes]:
    make = CallKey(function, version=options.get("version"), key=options.get("key"), durable=durable)

    def call(*args: Any, **kwargs: Any) -> bytes:
        key = make(args, kwargs)
        assert key is not None, "does not bind"
        return key

    return call


def plain(a: object, b: object = 2, *, c: object = 3) -> None: ...
def greedy(a: object, /, *args: object, c: object = 3, **kwargs: object) -> None: ...


def test_how_an_argument_was_passed_does_not_count() -> None:
    key = key_of(plain)
    assert (
        len({key(1), key(1, 2), key(a=1), key(b=2, a=1), key(1, b=2), key(1, c=3), key(c=3, b=2, a=1)}) == 1
    )
    assert len({key(1), key(2), key(1, 3), key(1, c=4), key(1, 3, c=2), key(True), key("1")}) == 7


def test_var_arguments_keep_their_place() -> None:
    key = key_of(greedy)
    assert key(1) == key(1, c=3)
    assert key(1, d=1, e=2) == key(1, e=2, d=1)
    distinct = [
        key(1),
        key(1, 2),
        key(1, (2,)),
        key(1, 2, 3),
        key(1, a=2),
        key(1, args=2),
        key(1, kwargs={"a": 2}),
    ]
    assert len(set(distinct)) == len(distinct)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"z": 1}), ((), {"b": 1})],
)
def test_arguments_that_do_not_fit_have_no_key(args: tuple[int, ...], kwargs: dict[str, int]) -> None:
    assert CallKey(plain, version=None, key=None, durable=False)(args, kwargs) is None


def test_function_and_version_are_part_of_the_key() -> None:
    def other(a: object, b: object = 2, *, c: object = 3) -> None: ...

    keys = {key_of(plain)(1), key_of(other)(1), key_of(plain, version="")(1), key_of(plain, version="1")(1)}
    assert len(keys) == 4


def test_default_that_changes_is_read_at_each_call() -> None:
    setting: list[int] = []

    def function(a: int, b: list[int] = setting) -> None: ...

    key = key_of(function)
    before = key(1)
    setting.append(1)
    assert key(1) != before


def test_decorated_function_is_read_by_its_own_signature_not_by_that_of_what_it_wraps() -> None:
    def inner(a: int, b: int = 2) -> None: ...

    @functools.wraps(inner)
    def outer(*args: int, **kwargs: int) -> None:
        kwargs.setdefault("b", 5)  # outer(1) is not outer(1, b=2)
        inner(*args, **kwargs)

    key = key_of(outer)
    assert key(1) != key(1, b=2)


def test_key_function_stands_for_the_arguments() -> None:
    key = key_of(plain, key=lambda a, b=None: a["id"])
    assert key({"id": 1, "x": object()}) == key({"id": 1}, object())
    assert key({"id": 1}) != key({"id": 2})
    assert key({"id": 1}) != key_of(lambda a: None)({"id": 1})


def test_error_names_the_parameter_and_the_way_out() -> None:
    with pytest.raises(InvalidRequest, match=r"^b: a value of type builtins\.object .*give key=$") as caught:
        key_of(plain)(1, [object()])
    assert caught.value.field == "b"
    with pytest.raises(InvalidRequest, match=r"^key: .*from key=$"):
        key_of(plain, key=lambda a: object())(1)


class Service:
    def method(self, x: int) -> None: ...


@dataclass
class Valued:
    name: str

    def method(self, x: int) -> None: ...


class Slotted:
    __slots__ = ()

    def method(self, x: int) -> None: ...


def test_self_counts_by_identity_in_one_process_and_by_value_beyond() -> None:
    local, durable = key_of(Valued.method), key_of(Valued.method, durable=True)
    a, b = Valued("a"), Valued("a")
    assert local(a, 1) == local(a, 1)
    assert local(a, 1) != local(b, 1)
    assert durable(a, 1) == durable(b, 1)
    assert durable(a, 1) != durable(Valued("b"), 1)


def test_self_that_cannot_be_known_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"^self: .*Service.*give key="):
        key_of(Service.method, durable=True)(Service(), 1)
    with pytest.raises(InvalidRequest, match=r"^self: .*Slotted cannot be weakly referenced.*give key="):
        key_of(Slotted.method)(Slotted(), 1)


def test_key_is_the_same_in_another_process(tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text(
        "from asynccache._calls.key import CallKey\n"
        "def f(a, b={'x': {1, 2, 'three'}}): ...\n"
        "print(CallKey(f, version='1', key=None, durable=True)((frozenset('abc'),), {}).hex())\n"
    )
    seen = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, str(module)],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        seen.add(done.stdout)
    assert len(seen) == 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(JSON)
def test_json_result_comes_back_as_it_was(value: object) -> None:
    body = to_json(value)
    assert body is not None
    assert same(from_json(body), value)


@pytest.mark.parametrize(
    "value",
    [
        (1,), {1: 2}, {1}, b"", math.nan, math.inf, 2**63, "\ud800", {"\ud800": 1}, [(1,)], {"a": (1,)},
        Level.ONE, Colour.RED, Point(1), OrderedDict(a=1), object(), 1j, dt.date(2026, 1, 1), UUID(int=1),
        type("S", (str,), {})("a"),
    ],
)  # fmt: skip
def test_result_that_would_come_back_changed_is_not_stored(value: object) -> None:
    assert to_json(value) is None
    assert to_json([value]) is None


def test_endless_result_is_not_stored() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert to_json(endless) is None


@dataclass
class Partial:
    x: int = field(init=False)


def test_field_that_was_never_set_differs_from_none() -> None:
    unset, none = Partial(), Partial()
    none.x = None  # type: ignore[assignment]  # on purpose
    assert spelled(unset) != spelled(none)
