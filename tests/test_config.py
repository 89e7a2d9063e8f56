from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache import CachePipeline, ConfigurationError
from asynccache._config import _OPTIONS, load

SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str, name: str = "asynccache.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problem(path: str | Path | None = None, environ: dict[str, str] | None = None, **overrides: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(path, environ or {}, overrides)
    return str(caught.value)


def test_every_option_is_a_keyword_of_the_pipeline() -> None:
    assert set(_OPTIONS) <= set(inspect.signature(CachePipeline).parameters)


def test_nothing_given_is_an_empty_configuration() -> None:
    assert load(None, {}, {}) == {}


def test_arguments_win_over_variables_and_variables_over_the_file(workplace: Path) -> None:
    write(workplace, 'ttl = 1\nnamespace = "file"\ndefault_model = "file"')
    environ = {"ASYNCCACHE_NAMESPACE": "variable", "ASYNCCACHE_DEFAULT_MODEL": "variable"}
    assert load(None, environ, {"default_model": None}) == {
        "ttl": 1,
        "namespace": "variable",
        "default_model": None,
    }


def test_file_named_in_code_wins_over_the_variable_and_that_over_the_working_directory(
    workplace: Path,
) -> None:
    write(workplace, "ttl = 1")
    named = write(workplace, "ttl = 2", "named.toml")
    given = write(workplace, "ttl = 3", "given.toml")
    environ = {"ASYNCCACHE_CONFIG": str(named)}
    assert load(None, {}, {}) == {"ttl": 1}
    assert load(None, environ, {}) == {"ttl": 2}
    assert load(given, environ, {}) == {"ttl": 3}


def test_file_holds_every_option_in_the_constructors_types(workplace: Path) -> None:
    write(
        workplace,
        """
        upstream = "http://127.0.0.1:8000/v1"
        backend = "memory://"
        api_key = "k"
        default_model = "m"
        ttl = "none"
        namespace = "n"
        abandoned = "finish"
        max_index_bytes = "1GiB"
        max_request_bytes = "16MB"
        consistency = "strong"
        strict = true
        decision = "threshold"
        max_error = 0.05
        guards = ["numbers", "units"]
        audit = 0.02
        audits_per_minute = 10
        embedder = "default"
        threshold_floor = 0.8
        history = "last:2"
        [threshold]
        "" = 0.95
        "faq" = 0.9
        [prices]
        "m" = [1.25, 10]
        """,
    )
    options = load(None, {}, {})
    assert options == {
        "upstream": "http://127.0.0.1:8000/v1",
        "backend": "memory://",
        "api_key": "k",
        "default_model": "m",
        "ttl": None,
        "namespace": "n",
        "abandoned": "finish",
        "max_index_bytes": 2**30,
        "max_request_bytes": 16_000_000,
        "consistency": "strong",
        "strict": True,
        "decision": "threshold",
        "max_error": 0.05,
        "guards": ["numbers", "units"],
        "audit": 0.02,
        "audits_per_minute": 10,
        "embedder": "default",
        "threshold_floor": 0.8,
        "history": "last:2",
        "threshold": {None: 0.95, "faq": 0.9},
        "prices": {"m": (1.25, 10)},
    }
    assert set(options) == set(_OPTIONS)
    CachePipeline(**options)


def test_variables_hold_every_option_as_text() -> None:
    options = load(
        None,
        {
            "ASYNCCACHE_UPSTREAM": "https://api.example/v1",
            "ASYNCCACHE_BACKEND": "sqlite:///x.db?memory=64MB",
            "ASYNCCACHE_API_KEY": SECRET,
            "ASYNCCACHE_DEFAULT_MODEL": "1",
            "ASYNCCACHE_TTL": "0.5",
            "ASYNCCACHE_NAMESPACE": "true",
            "ASYNCCACHE_ABANDONED": "close",
            "ASYNCCACHE_MAX_INDEX_BYTES": "1048576",
            "ASYNCCACHE_MAX_REQUEST_BYTES": "1024",
            "ASYNCCACHE_CONSISTENCY": "eventual",
            "ASYNCCACHE_PRICES": '{"m": [1, 2.5]}',
            "ASYNCCACHE_STRICT": "No",
            "ASYNCCACHE_DECISION": "none",
            "ASYNCCACHE_MAX_ERROR": "0.01",
            "ASYNCCACHE_GUARDS": "negation, entities",
            "ASYNCCACHE_AUDIT": "1",
            "ASYNCCACHE_AUDITS_PER_MINUTE": "5",
            "ASYNCCACHE_EMBEDDER": "/models/mine",
            "ASYNCCACHE_THRESHOLD": "0.9",
            "ASYNCCACHE_THRESHOLD_FLOOR": "0.5",
            "ASYNCCACHE_HISTORY": "ignore",
            "OTHER_TTL": "nonsense",
        },
        {},
    )
    assert options == {
        "upstream": "https://api.example/v1",
        "backend": "sqlite:///x.db?memory=64MB",
        "api_key": SECRET,
        "default_model": "1",
        "ttl": 0.5,
        "namespace": "true",
        "abandoned": "close",
        "max_index_bytes": 2**20,
        "max_request_bytes": 1024,
        "consistency": "eventual",
        "prices": {"m": (1, 2.5)},
        "strict": False,
        "decision": None,
        "max_error": 0.01,
        "guards": ["negation", "entities"],
        "audit": 1.0,
        "audits_per_minute": 5,
        "embedder": "/models/mine",
        "threshold": 0.9,
        "threshold_floor": 0.5,
        "history": "ignore",
    }
    CachePipeline(**options)


def test_ttl_of_none_in_a_variable_never_expires() -> None:
    assert load(None, {"ASYNCCACHE_TTL": "none"}, {}) == {"ttl": None}


def test_empty_variables_count_as_unset(workplace: Path) -> None:
    write(workplace, "ttl = 7")
    environ = {"ASYNCCACHE_TTL": "", "ASYNCCACHE_CONFIG": "", "ASYNCCACHE_NO_SUCH": ""}
    assert load(None, environ, {}) == {"ttl": 7}


def test_arguments_given_in_code_are_passed_on_as_they_are() -> None:
    hook = print
    assert load(None, {}, {"hooks": [hook], "ttl": None}) == {"hooks": [hook], "ttl": None}


def test_loading_a_backend_makes_no_file(workplace: Path) -> None:
    load(None, {"ASYNCCACHE_BACKEND": "sqlite:///x.db"}, {})
    assert list(workplace.iterdir()) == []


def test_unknown_option_of_a_file_is_named_with_its_nearest(workplace: Path) -> None:
    write(workplace, "default-model = 'm'")
    assert problem() == "asynccache.toml: unknown option 'default-model'; did you mean 'default_model'?"


def test_unknown_option_without_a_neighbour_gets_the_list(workplace: Path) -> None:
    write(workplace, "zzz = 1")
    assert "known: upstream, backend" in problem()


def test_unknown_variable_is_named_with_its_nearest() -> None:
    sentence = problem(environ={"ASYNCCACHE_TTTL": "1"})
    assert sentence == "unknown variable 'ASYNCCACHE_TTTL'; did you mean 'ASYNCCACHE_TTL'?"


def test_options_that_are_code_are_not_taken_from_a_file(workplace: Path) -> None:
    write(workplace, "hooks = []")
    assert "unknown option 'hooks'" in problem()


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("ttl = -1", "ttl"),
        ("ttl = inf", "ttl"),
        ("ttl = nan", "ttl"),
        ("ttl = true", "ttl"),
        ("ttl = '3600'", "ttl"),
        (f"ttl = 1{'0' * 400}", "ttl"),
        ("strict = 1", "strict"),
        ("strict = 'true'", "strict"),
        ("upstream = 'ftp://x'", "upstream"),
        ("upstream = ['http://x']", "upstream"),
        ("namespace = ''", "namespace"),
        ("default_model = 5", "default_model"),
        ("abandoned = 'keep'", "abandoned"),
        ("abandoned = ['close']", "abandoned"),
        ("consistency = 'weak'", "consistency"),
        ("consistency = ['strong']", "consistency"),
        ("max_request_bytes = 0", "max_request_bytes"),
        ("max_request_bytes = '16 lightyears'", "max_request_bytes"),
        ("max_request_bytes = 1.5", "max_request_bytes"),
        ("decision = 'hope'", "decision"),
        ("max_error = 0", "max_error"),
        ("max_error = 1", "max_error"),
        ("max_error = true", "max_error"),
        ("guards = 'numbers'", "guards"),
        ("guards = ['names']", "guards"),
        ("audit = 1.5", "audit"),
        ("audits_per_minute = 0", "audits_per_minute"),
        ("audits_per_minute = 1.5", "audits_per_minute"),
        ("embedder = ''", "embedder"),
        ("threshold = 1.5", "threshold"),
        ("threshold = '0.9'", "threshold"),
        ("threshold = {faq = 2}", "threshold"),
        ("threshold_floor = -0.1", "threshold_floor"),
        ("history = 'last:0'", "history"),
        ("history = 3", "history"),
        ("prices = 5", "prices"),
        ("prices = {m = [1]}", "prices"),
        ("prices = {m = [1, -2]}", "prices"),
        ("backend = 'redsi://x'", "backend"),
        ("backend = 'sqlite:///x.db?memroy=1'", "backend"),
    ],
)
def test_value_that_cannot_work_is_refused_with_file_and_key(workplace: Path, line: str, option: str) -> None:
    write(workplace, line, "mine.toml")
    assert problem("mine.toml").startswith(f"mine.toml: {option}: ")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("ASYNCCACHE_TTL", "1h"),
        ("ASYNCCACHE_TTL", "-1"),
        ("ASYNCCACHE_TTL", "nan"),
        ("ASYNCCACHE_STRICT", "maybe"),
        ("ASYNCCACHE_THRESHOLD", "high"),
        ("ASYNCCACHE_THRESHOLD_FLOOR", "2"),
        ("ASYNCCACHE_HISTORY", "all"),
        ("ASYNCCACHE_DECISION", "hope"),
        ("ASYNCCACHE_PRICES", "{"),
        ("ASYNCCACHE_PRICES", "[1, 2]"),
        ("ASYNCCACHE_MAX_REQUEST_BYTES", "-5"),
        ("ASYNCCACHE_BACKEND", "redsi://x"),
    ],
)
def test_value_that_cannot_work_is_refused_with_its_variable(variable: str, text: str) -> None:
    assert problem(environ={variable: text}).startswith(f"{variable}: ")


@pytest.mark.parametrize("option", sorted(_OPTIONS))
def test_no_error_quotes_a_value_that_may_be_a_misplaced_secret(workplace: Path, option: str) -> None:
    write(workplace, f"{option} = ['{SECRET}']")
    assert SECRET not in problem()
    if option not in ("api_key", "default_model", "embedder", "namespace"):  # those take any text
        assert SECRET not in problem(workplace / "none.toml", {f"ASYNCCACHE_{option.upper()}": SECRET})
        (workplace / "asynccache.toml").unlink()
        assert SECRET not in problem(environ={f"ASYNCCACHE_{option.upper()}": SECRET})


def test_broken_file_is_refused_with_the_place_and_without_its_text(workplace: Path) -> None:
    write(workplace, f'api_key = "{SECRET}"\nttl = oops {SECRET}')
    sentence = problem()
    assert sentence.startswith("asynccache.toml: not a TOML file (see line 2, column ")
    assert SECRET not in sentence


def test_file_that_is_not_text_is_refused(workplace: Path) -> None:
    (workplace / "asynccache.toml").write_bytes(b"\xff\xfe")
    assert problem() == "asynccache.toml: not a TOML file (UnicodeDecodeError)"


def test_named_file_must_exist(workplace: Path) -> None:
    assert problem("none.toml") == "none.toml: cannot be read (No such file or directory)"
    assert problem(environ={"ASYNCCACHE_CONFIG": "none.toml"}).startswith("none.toml (ASYNCCACHE_CONFIG): ")
    assert "cannot be read" in problem(workplace)


@given(st.floats(min_value=0, max_value=1e12, allow_nan=False).map(lambda seconds: round(seconds, 6)))
def test_ttl_reads_alike_from_file_and_variable(tmp_path_factory: pytest.TempPathFactory, ttl: float) -> None:
    path = tmp_path_factory.mktemp("config") / "c.toml"
    path.write_text(f"ttl = {ttl:.6f}")
    assert load(path, {}, {}) == load(None, {"ASYNCCACHE_TTL": f"{ttl:.6f}"}, {}) == {"ttl": ttl}


@pytest.mark.parametrize("name", ["ASYNCCACHE_TENANT_SECRET", "ASYNCCACHE_TEST_VLLM_URL"])
def test_variables_that_are_read_elsewhere_are_no_options(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x" * 40)
    monkeypatch.setenv("ASYNCCACHE_UPSTREAM", "http://127.0.0.1:9/v1")
    assert not CachePipeline.configured(backend="memory://", decision=None).is_open
