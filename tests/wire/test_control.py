"""Headers that ask something of the cache."""

from __future__ import annotations

from typing import Any

import pytest

from asynccache import Control, InvalidRequest
from asynccache._wire.control import control_from


@pytest.mark.parametrize(
    ("header", "control"),
    [
        ("no-cache", Control(no_cache=True)),
        ("No-Store, max-age=60", Control(no_store=True, max_age=60)),
        ('max-age="60" , only-if-cached', Control(max_age=60, only_if_cached=True)),
        ("max-age=60, stale-if-error=600", Control(max_age=60, stale_if_error=600)),
        ("no-transform, min-fresh=5, private, x=y", Control()),
        ("", Control()),
        (" , no-cache,", Control(no_cache=True)),
    ],
)
def test_directives_are_understood(header: str, control: Control) -> None:
    assert control_from({"cache-control": header}) == control


@pytest.mark.parametrize(
    "header", ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "stale-if-error=soon", "a b", "="]
)
def test_bad_header_is_named(header: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^Cache-Control: "):
        control_from({"cache-control": header})


@pytest.mark.parametrize(("header", "tags"), [("a,b", ("a", "b")), (" a b , ,c", ("a b", "c")), ("", ())])
def test_tags_are_separated_by_commas(header: str, tags: Any) -> None:
    assert control_from({"x-cache-tags": header}).tags == tags


def test_other_headers_ask_nothing() -> None:
    assert control_from({"pragma": "no-cache", "authorization": "x"}) == Control()
