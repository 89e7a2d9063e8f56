"""What a Redis URL means, and what is said about one that means nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asynccache import ConfigurationError, known_backends, open_backend
from asynccache._url import BackendURL
from asynccache.backends import RedisBackend, Tiered
from asynccache.backends._redis_url import located, redis_options


def options_of(text: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    return redis_options(located(BackendURL.parse(text), environment or {}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://localhost", {"nodes": [("localhost", 6379)], "cluster": False}),
        ("redis://localhost:7000/3", {"nodes": [("localhost", 7000)], "db": 3}),
        ("redis://[::1]:7000", {"nodes": [("::1", 7000)]}),
        ("redis://:se%40cret@host", {"username": None, "password": "se@cret"}),
        ("redis://user:se%3Acret@host", {"username": "user", "password": "se:cret"}),
        ("redis+cluster://a,b:7001", {"nodes": [("a", 6379), ("b", 7001)], "cluster": True}),
        (
            "redis+sentinel://u:p@a,b:1/main/2",
            {"nodes": [("a", 26379), ("b", 1)], "sentinel": "main", "db": 2, "password": "p"},
        ),
        (
            "redis+sentinel://a/main?sentinel_username=s&sentinel_password=t",
            {"sentinel_auth": ("s", "t"), "username": None},
        ),
        (
            "redis://h?op_timeout=0.25&write_timeout=2&prefix=mine&shards=4&vectors=int8&write_behind=0",
            {
                "op_timeout": 0.25,
                "write_timeout": 2.0,
                "prefix": "mine",
                "shards": 4,
                "vectors": "int8",
                "write_behind": False,
            },
        ),
    ],
)
def test_url_says_where_and_how(text: str, expected: dict[str, Any]) -> None:
    options = options_of(text)
    assert {name: options[name] for name in expected} == expected
    assert options["tls"] is None


@pytest.mark.parametrize("text", ["rediss://h?ca={}", "redis+cluster://h?tls=1&ca={}"])
def test_tls_checks_the_server_unless_told_otherwise(tmp_path: Path, text: str) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("")
    text = text.format(authority)
    tls = options_of(text)["tls"]
    assert tls == {
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_ca_certs": str(authority),
        "ssl_certfile": None,
        "ssl_keyfile": None,
    }
    trusting = options_of(text + "&verify=0")["tls"]
    assert (trusting["ssl_cert_reqs"], trusting["ssl_check_hostname"]) == ("none", False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("redis://a,b", "expected redis://"),
        ("redis://host/name", "its path means nothing"),
        ("redis://host:0", "a host is written"),
        ("redis://host:port", "a host is written"),
        ("redis://user@host", "a user without a password"),
        ("redis+sentinel://a,b", "name of the service is missing"),
        ("redis+sentinel://", "expected redis+sentinel://"),
        ("redis+cluster://a/1", "its path means nothing"),
        ("redis://host?ca=x", "makes no sense without TLS"),
        ("rediss://host?ca=nowhere.pem", "option 'ca': there is no file 'nowhere.pem'"),
        ("redis://host?typo=1", "unknown option 'typo'"),
        ("redis://host?vectors=float8", "unknown vectors='float8'"),
        ("redis://host?prefix=a{b", "prefix='a{b'"),
        ("redis://host?shards=1000", "shards=1000"),
        ("redis://host?op_timeout=0", "'op_timeout' must be seconds above 0"),
    ],
)
def test_bad_url_is_refused_with_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said.replace("+", r"\+").replace("{", r"\{")):
        open_backend(text)


def test_error_shows_no_secret() -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_backend("redis://user:hunter2@host:port")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {"nodes": [("127.0.0.1", 6379)], "password": None}),
        (
            {"REDIS_URL": "redis://one/1", "LLM_REDIS_URL": "redis://two", "REDIS_HOST": "three"},
            {"nodes": [("one", 6379)], "db": 1},
        ),
        ({"LLM_REDIS_URL": "redis+cluster://two", "REDIS_HOST": "three"}, {"cluster": True}),
        (
            {"REDIS_HOST": "three", "REDIS_PORT": "7", "REDIS_PASSWORD": "p@:/"},
            {"nodes": [("three", 7)], "password": "p@:/"},
        ),
        ({"REDIS_HOST": "::1"}, {"nodes": [("::1", 6379)]}),
        ({"REDIS_URL": "", "REDIS_HOST": "three"}, {"nodes": [("three", 6379)]}),
    ],
)
def test_url_without_a_host_takes_what_the_environment_says(
    environment: dict[str, str], expected: dict[str, Any]
) -> None:
    options = options_of("redis://", environment)
    assert {name: options[name] for name in expected} == expected


def test_own_options_stay_beside_those_of_the_environment() -> None:
    options = options_of("redis://?op_timeout=0.5", {"REDIS_URL": "redis://h?op_timeout=9&prefix=p"})
    assert (options["op_timeout"], options["prefix"]) == (0.5, "p")


def test_foreign_url_in_the_environment_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL names a sqlite:// URL"):
        options_of("redis://", {"REDIS_URL": "sqlite:///x.db"})


def test_url_with_a_host_ignores_the_environment() -> None:
    assert options_of("redis://here", {"REDIS_URL": "redis://there"})["nodes"] == [("here", 6379)]


def test_memory_stands_in_front_unless_left_out() -> None:
    assert isinstance(open_backend("redis://host"), Tiered)
    assert isinstance(open_backend("redis://host?memory=0"), RedisBackend)
    assert isinstance(open_backend("redis+cluster://host?memory=0"), RedisBackend)


def test_schemes_are_known() -> None:
    for scheme in ("redis", "rediss", "redis+sentinel", "redis+cluster"):
        assert scheme in known_backends()
