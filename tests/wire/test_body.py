"""A body is taken only if it cannot be taken for another."""

from __future__ import annotations

import pytest

from asynccache._wire.body import BodyFault, parsed


@pytest.mark.parametrize(
    ("content", "exact"),
    [
        (b'{"seed": 18446744073709551615, "n": -9223372036854775808}', True),
        (b'{"a": "number 123456789012345678901234567890, and: 99999999999999999999"}', True),
        (b'{"a": [1.5e300, 12345678901234567890.5]}', True),
        (b'{"seed": 18446744073709551616}', False),
        (b'{"seed":-9223372036854775809}', False),
        (b'{"a": [1,100000000000000000000001]}', False),
        (b'{"a": "99999999999999999999", "b":\n99999999999999999999}', False),
    ],
)
def test_integers_that_do_not_survive_are_noticed(content: bytes, exact: bool) -> None:
    assert parsed(content)[1] is exact


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
    ],
)
def test_what_is_no_object_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(BodyFault, match=words):
        parsed(content)
