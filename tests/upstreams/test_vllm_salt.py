"""The salt of tenants; no loop, no network."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode
from typing import Any

import pytest

from asynccache._errors import ConfigurationError, InvalidRequest
from asynccache._models import Scope
from asynccache.upstreams._vllm_salt import TenantSalt

SECRET = b"0123456789abcdef0123456789abcdef"
BODY: dict[str, Any] = {"model": "tiny", "messages": []}


@pytest.fixture(autouse=True)
def _no_secret_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASYNCCACHE_TENANT_SECRET", raising=False)


def salt(given: bytes | str | None = SECRET, *, own: Any = None, **scope: str) -> Any:
    made = TenantSalt.of(given)
    assert made is not None
    body = BODY if own is None else {**BODY, "cache_salt": own}
    return made.salted(body, Scope(**scope))["cache_salt"]


def test_salt_is_the_hmac_of_tenant_and_namespace() -> None:
    expected = hmac.digest(SECRET, b'["acme","shop"]', "sha256")
    made = salt(tenant="acme", namespace="shop")
    assert urlsafe_b64decode(made + "=") == expected
    assert made == salt(SECRET.decode(), tenant="acme", namespace="shop")


def test_salts_differ_where_anything_differs() -> None:
    salts = [
        salt(),
        salt(tenant=""),
        salt(tenant="a"),
        salt(tenant="b"),
        salt(tenant="a", namespace="b"),
        salt(namespace="a"),
        salt(tenant="a", own="x"),
        salt(tenant="b", own="x"),
        salt(tenant="a", own="y"),
        salt(SECRET + b"!", tenant="a"),
    ]
    assert len(set(salts)) == len(salts)


def test_users_of_one_tenant_share_their_salt() -> None:
    assert salt(tenant="a", user="x") == salt(tenant="a", user="y")


def test_own_salt_is_never_sent_as_it_is() -> None:
    assert "mine" not in salt(own="mine")
    assert salt(own="mine") == salt(own="mine")


@pytest.mark.parametrize("own", ["", 7, ["a"]])
def test_salt_that_the_server_refuses_is_left_for_it_to_refuse(own: Any) -> None:
    assert salt(own=own) == own


def test_salt_that_is_no_unicode_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest) as caught:
        salt(own="\ud800")
    assert caught.value.field == "cache_salt"


def test_caller_keeps_its_body() -> None:
    salt(tenant="a")
    assert BODY == {"model": "tiny", "messages": []}


def test_secret_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TenantSalt.of(None) is None
    monkeypatch.setenv("ASYNCCACHE_TENANT_SECRET", SECRET.decode())
    assert salt(None, tenant="a") == salt(tenant="a")
    assert TenantSalt.of("") is None


@pytest.mark.parametrize("given", ["short", b"x" * 31, 7])
def test_bad_secret_is_refused_and_not_told(given: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TenantSalt.of(given)
    assert "tenant_secret" in str(caught.value)
    assert "short" not in str(caught.value)
    assert "xxx" not in str(caught.value)


def test_short_secret_of_the_environment_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCCACHE_TENANT_SECRET", "x")
    with pytest.raises(ConfigurationError, match="ASYNCCACHE_TENANT_SECRET"):
        TenantSalt.of(None)


def test_secret_is_in_no_repr() -> None:
    assert repr(TenantSalt(SECRET)) == "<TenantSalt>"
