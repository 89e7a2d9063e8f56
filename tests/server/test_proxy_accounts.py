"""Whose answers are whose: clients' own accounts, keys of the proxy's, and named tenants."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from asynccache._errors import ConfigurationError
from asynccache.server._proxy_accounts import Accounts, passed_on
from asynccache.server._proxy_keys import ClientKeys
from asynccache.server._proxy_refusal import Refusal

pytestmark = pytest.mark.anyio


@pytest.fixture
def keys(tmp_path: Path) -> str:
    hashed = sha256(b"key-b").hexdigest()
    path = tmp_path / "keys.toml"
    path.write_text(f'[keys]\nacme = ["key-a", "sha256:{hashed}"]\nother = ["key-c"]\n')
    return str(path)


@pytest.mark.parametrize(
    "header",
    [
        {"authorization": "Bearer two"},
        {"openai-organization": "o"},
        {"openai-project": "p"},
        {"x-api-key": "k"},
        {"anthropic-beta": "b"},
        {"anthropic-version": "v"},
        {"x-anything-unknown": "1"},
    ],
)
async def test_accounts_and_what_shapes_an_answer_keep_answers_apart(
    proxying: Any, header: dict[str, str]
) -> None:
    async with proxying.both() as (upstream, served):
        await served.ask()
        await served.ask(headers=header)
        again = await served.ask(headers=header)
    assert len(upstream.asked) == 2
    assert "hit" in again.headers["cache-status"]


async def test_query_keeps_answers_apart_and_goes_upstream(proxying: Any) -> None:
    async with proxying.both() as (upstream, served):
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        for query in ("", "?api-version=1", "?api-version=2", "?api-version=1"):
            await served.client.post(f"/v1/chat/completions{query}", json=body)
    assert [asked.target for asked in upstream.asked] == [
        f"/v1/chat/completions{query}" for query in ("", "?api-version=1", "?api-version=2")
    ]


async def test_clients_of_one_account_share_whatever_their_sdk_says_of_itself(proxying: Any) -> None:
    async with proxying.both() as (upstream, served):
        await served.ask(headers={"user-agent": "a", "x-stainless-lang": "python", "x-request-id": "1"})
        await served.ask(headers={"user-agent": "b", "x-stainless-lang": "js", "x-request-id": "2"})
    assert len(upstream.asked) == 1
    assert upstream.asked[0].headers["x-request-id"] == "1"


async def test_keys_name_tenants_who_share_among_themselves_alone(
    proxying: Any, keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "the-proxys-own")
    async with proxying.both(keys=keys, upstream_key_env="UPSTREAM_KEY") as (upstream, served):
        for key in ("key-a", "key-b", "key-c"):
            assert (await served.ask(headers={"authorization": f"Bearer {key}"})).status_code == 200
        by_other_header = await served.ask(headers={"authorization": "", "x-api-key": "key-a"})
    assert by_other_header.status_code == 200
    assert len(upstream.asked) == 2
    assert {asked.headers["authorization"] for asked in upstream.asked} == {"Bearer the-proxys-own"}


@pytest.mark.parametrize("header", [{"authorization": "Bearer key-x"}, {"authorization": ""}])
async def test_unknown_or_missing_key_is_answered_401_in_the_dialects_shape(
    proxying: Any, keys: str, header: dict[str, str]
) -> None:
    async with proxying.both(keys=keys) as (upstream, served):
        answer = await served.ask(headers=header)
        other = await served.client.post("/v1/messages", json={}, headers=header)
        models = await served.client.get("/v1/models", headers=header)
    assert {each.status_code for each in (answer, other, models)} == {401}
    assert answer.json()["error"]["type"] == "authentication_error"
    assert other.json()["error"]["type"] == "authentication_error"
    assert "key-x" not in answer.text
    assert not upstream.asked


async def test_key_of_the_proxys_goes_in_the_way_and_with_the_version_the_client_speaks(
    proxying: Any, keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "the-proxys-own")
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    message = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "hello"}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }

    async def answer(asked: Any) -> None:
        await asked.answer(message)

    async with proxying.both(answer, keys=keys, upstream_key_env="UPSTREAM_KEY") as (upstream, served):
        for beta in ("one", "one", "two"):
            headers = {"x-api-key": "key-a", "anthropic-version": "2023-06-01", "anthropic-beta": beta}
            assert (await served.client.post("/v1/messages", json=body, headers=headers)).status_code == 200
    assert [asked.headers["anthropic-beta"] for asked in upstream.asked] == ["one", "two"]
    assert {asked.headers["x-api-key"] for asked in upstream.asked} == {"the-proxys-own"}


async def test_tenant_header_is_refused_unless_it_is_trusted(proxying: Any) -> None:
    async with proxying.both() as (upstream, served):
        answer = await served.ask(headers={"x-cache-tenant": "a"})
        passed = await served.client.get("/v1/models", headers={"x-cache-tenant": "a"})
    assert answer.status_code == passed.status_code == 400
    assert "X-Cache-Tenant" in answer.json()["error"]["message"]
    assert not upstream.asked


async def test_trusted_tenant_header_divides_and_stays_here(proxying: Any) -> None:
    async with proxying.both(trust_tenant_header=True) as (upstream, served):
        for tenant in ("a", "b", "a"):
            assert (await served.ask(headers={"x-cache-tenant": tenant})).status_code == 200
        empty = await served.ask(headers={"x-cache-tenant": ""})
    assert empty.status_code == 400
    assert len(upstream.asked) == 2
    assert "x-cache-tenant" not in upstream.asked[0].headers


def test_trusted_tenant_never_joins_what_keys_keep_apart() -> None:
    accounts = Accounts(
        "http://x/v1", keys=ClientKeys({"a": ["1"], "b": ["2"]}), shared=True, trust_tenant_header=True
    )
    scopes = {
        accounts.of([(b"authorization", b"Bearer " + key), (b"x-cache-tenant", b"t")], "/c").scope
        for key in (b"1", b"2")
    }
    assert len(scopes) == 2


def test_headers_of_the_connection_are_not_passed_on() -> None:
    given = [
        *[(b"connection", b"close, X-Mine"), (b"x-mine", b"1"), (b"te", b"trailers"), (b"host", b"h")],
        *[(b"transfer-encoding", b"chunked"), (b"upgrade", b"h2c"), (b"x-cache-tags", b"t"), (b"a", b"b")],
    ]
    assert passed_on(given) == [("a", "b")]


def test_remembered_account_is_not_another_ones() -> None:
    accounts = Accounts("http://x/v1")
    one = accounts.of([(b"authorization", b"one"), (b"content-length", b"5")], "/c")
    assert accounts.of([(b"authorization", b"one"), (b"content-length", b"7")], "/c") is one
    assert accounts.of([(b"authorization", b"two"), (b"content-length", b"5")], "/c").scope != one.scope
    assert accounts.of([(b"authorization", b"one"), (b"content-length", b"5")], "/d").scope != one.scope


@pytest.mark.parametrize(
    "text",
    [
        "",
        "keys = 1",
        "[keys]",
        "[keys]\na = 1",
        "[keys]\na = [1]",
        '[keys]\na = [""]',
        '[keys]\na = ["sha256:12"]',
        '[keys]\na = ["same"]\nb = ["same"]',
        'not "toml',
    ],
)
def test_key_file_that_cannot_be_meant_so_is_refused_without_its_keys(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        ClientKeys.read(str(path))
    assert "same" not in str(refused.value)


def test_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml: cannot be read"):
        ClientKeys.read(str(tmp_path / "none.toml"))


def test_scheme_of_authorization_other_than_bearer_shows_no_key() -> None:
    accounts = Accounts("http://x/v1", keys=ClientKeys({"a": ["1"]}), shared=True)
    with pytest.raises(Refusal, match="no API key"):
        accounts.of([(b"authorization", b"Basic 1")], "/c")
