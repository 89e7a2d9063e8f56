"""A body is taken only if it cannot be taken for another."""

from __future__ import annotations

import pytest

from asynccache._wire.body import BodyFault, parsed


@pytest.mark.parametrize(
    "content",
    [
        b'{"seed": 18446744073709551615, "n": -9223372036854775808}',
        b'{"a": "number 123456789012345678901234567890, and: 99999999999999999999"}',
        b'{"a": [1.5e300, 12345678901234567890.5]}',
    ],
)
def test_what_survives_parsing_is_taken(content: bytes) -> None:
    assert isinstance(parsed(content), dict)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"seed": 18446744073709551616}', "64-bit range"),
        (b'{"seed":-9223372036854775809}', "64-bit range"),
        (b'{"a": [1,100000000000000000000001]}', "64-bit range"),
        (b'{"a": "99999999999999999999", "b":\n99999999999999999999}', "64-bit range"),
    ],
)
def test_what_does_not_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(BodyFault, match=words):
        parsed(content)
