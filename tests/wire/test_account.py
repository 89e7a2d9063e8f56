"""Two accounts never share a name; what says nothing of an account does not part one from itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache._wire.account import tenant_of

ORIGIN = "https://api.example.com/v1/chat/completions"
HEADERS = [("Authorization", "Bearer key"), ("OpenAI-Organization", "org"), ("OpenAI-Project", "project")]

NAMES = st.sampled_from(
    ["authorization", "x-api-key", "api-key", "openai-organization", "anthropic-beta", "x-unheard-of"]
)
ACCOUNTS = st.dictionaries(NAMES, st.text("abc;= ,", min_size=1, max_size=6).filter(str.strip), max_size=4)


def name(headers: list[tuple[str, str]], origin: str = ORIGIN) -> str:
    return tenant_of(headers, origin=origin)


@given(ACCOUNTS, ACCOUNTS)
def test_accounts_share_a_name_only_if_they_send_the_same(one: dict[str, str], other: dict[str, str]) -> None:
    same = {k: v.strip() for k, v in one.items()} == {k: v.strip() for k, v in other.items()}
    assert (name([*one.items()]) == name([*other.items()])) is same


def test_order_and_case_of_names_do_not_matter() -> None:
    other = [(header.upper(), value) for header, value in reversed(HEADERS)]
    assert name(other) == name(HEADERS)


@pytest.mark.parametrize("index", range(len(HEADERS)))
def test_every_header_that_tells_of_an_account_parts(index: int) -> None:
    header, value = HEADERS[index]
    changed = [*HEADERS[:index], (header, f"{value}2"), *HEADERS[index + 1 :]]
    without = [*HEADERS[:index], *HEADERS[index + 1 :]]
    assert len({name(HEADERS), name(changed), name(without)}) == 3


def test_server_and_path_part() -> None:
    assert name(HEADERS, "https://other.example.com/v1/chat/completions") != name(HEADERS)


@pytest.mark.parametrize(
    "header",
    [
        "User-Agent",
        "X-Stainless-Retry-Count",
        "traceparent",
        "Idempotency-Key",
        "X-Request-Id",
        "X-Forwarded-For",
    ],
)
def test_what_tells_one_request_from_another_of_the_same_account_does_not_part(header: str) -> None:
    assert name([*HEADERS, (header, "anything")]) == name(HEADERS)


@pytest.mark.parametrize(
    "header",
    [
        "CF-Access-Client-Id",
        "cf-access-jwt-assertion",
        "cf-aig-authorization",
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Forwarded-Host",
        "X-Session-Id",
        "From",
        "X-Cache-Key",
        "X-Unheard-Of",
    ],
)
def test_whatever_else_is_sent_parts(header: str) -> None:
    assert len({name([*HEADERS, (header, value)]) for value in ("alice", "bob", "")}) == 3


def test_cookies_part_but_those_that_tell_bots_apart() -> None:
    assert name([*HEADERS, ("Cookie", "__cf_bm=abc; _cfuvid=xyz")]) == name(HEADERS)
    assert name([*HEADERS, ("Cookie", "__cf_bm=abc; session=1")]) != name([*HEADERS, ("Cookie", "session=2")])


def test_another_secret_gives_another_name() -> None:
    assert tenant_of(HEADERS, origin=ORIGIN, secret=b"0123456789abcdef") != name(HEADERS)


def test_the_name_tells_nothing_of_the_key() -> None:
    assert "key" not in name(HEADERS)
    assert len(name(HEADERS)) == 64
