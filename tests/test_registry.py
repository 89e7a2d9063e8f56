"""Names and URLs: what they make, and what is said about those that make nothing."""

from __future__ import annotations

import subprocess
import sys
import traceback
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from asynccache import _registry
from asynccache._errors import ConfigurationError
from asynccache._protocols import Backend
from asynccache._registry import (
    default_backend_url,
    find_dialect,
    known_backends,
    open_backend,
    register_backend,
    register_dialect,
)
from asynccache._url import BackendURL
from asynccache.backends import MemoryBackend, SqliteBackend, Tiered
from asynccache.dialects.chat import ChatCompletions

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing registered, nothing installed, whatever the test does."""
    monkeypatch.setattr(_registry, "_backends", {})
    monkeypatch.setattr(_registry, "_dialects", {})
    monkeypatch.setattr(_registry, "entry_points", lambda **_: EntryPoints())


def problem(url: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        open_backend(url)
    return str(caught.value)


def sqlite_of(backend: Backend) -> SqliteBackend:
    inner = backend._back if isinstance(backend, Tiered) else backend
    assert isinstance(inner, SqliteBackend)
    return inner


def path_of(backend: Backend) -> str:
    return repr(sqlite_of(backend)).removeprefix("<SqliteBackend '").removesuffix("'>")


def test_memory_url_makes_a_memory_backend() -> None:
    backend = open_backend("memory://")
    assert isinstance(backend, MemoryBackend)
    assert (backend._lru._max_items, backend._lru._max_weight) == (100_000, 256 * 2**20)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("1", 1),
        ("64MB", 64 * 10**6),
        ("64mb", 64 * 10**6),
        ("2KB", 2000),
        ("3GB", 3 * 10**9),
        ("2KiB", 2048),
        ("64MiB", 2**26),
        ("1GiB", 2**30),
        ("64%20MB", 64 * 10**6),
    ],
)
def test_sizes_take_units(written: str, size: int) -> None:
    backend = open_backend(f"memory://?max_bytes={written}&max_entries=7")
    assert isinstance(backend, MemoryBackend)
    assert (backend._lru._max_items, backend._lru._max_weight) == (7, size)


@pytest.mark.parametrize("written", ["", "0", "0MB", "-1", "1.5MB", "MB", "64TB", "64 M B", "\u0661", "1e3"])
def test_bad_size_names_the_option_and_the_scheme(written: str) -> None:
    message = problem(f"memory://?max_bytes={written}")
    assert message == "memory:// URL: option 'max_bytes' must be 1 bytes or more, such as 64MB or 1GiB"


@pytest.mark.parametrize("written", ["", "0", "-1", "x", "1.0", "9" * 30])
def test_bad_number_names_the_option_and_the_scheme(written: str) -> None:
    message = problem(f"memory://?max_entries={written}")
    assert message == "memory:// URL: option 'max_entries' must be a whole number of 1 or more"


@pytest.mark.parametrize("written", ["", "0", "-1", "x", "nan", "inf", "1e3", "0.0"])
def test_bad_seconds_name_the_option_and_the_scheme(written: str) -> None:
    message = problem(f"sqlite:///x.db?memory_ttl={written}")
    assert message == "sqlite:// URL: option 'memory_ttl' must be seconds above 0, such as 60 or 0.5"


@pytest.mark.parametrize("written", ["", "2", "on"])
def test_bad_flag_names_the_option_and_the_scheme(written: str) -> None:
    assert problem(f"sqlite:///x.db?write_behind={written}") == (
        "sqlite:// URL: option 'write_behind' must be 1 or 0"
    )


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///answers.db", "answers.db"),
        ("sqlite:///folder/answers.db", "folder/answers.db"),
        ("sqlite:////srv/answers.db", "/srv/answers.db"),
        ("SQLite:////srv/answers.db", "/srv/answers.db"),
        ("sqlite:////srv/with%20blank%23%3F%C3%A4.db", "/srv/with blank#?ä.db"),
        ("sqlite:////srv/a+b.db?memory=0", "/srv/a+b.db"),
    ],
)
def test_sqlite_path_is_relative_with_three_slashes_and_absolute_with_four(
    url: str, path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert path_of(open_backend(url)) in {path, str(tmp_path / path)}
    assert list(tmp_path.iterdir()) == []  # constructed, not opened


def test_sqlite_stands_behind_a_memory_unless_told_otherwise() -> None:
    backend = open_backend("sqlite:///x.db")
    assert isinstance(backend, Tiered)
    assert backend._front_ttl == 60.0
    assert (backend._front._lru._max_items, backend._front._lru._max_weight) == (100_000, 256 * 2**20)
    assert isinstance(open_backend("sqlite:///x.db?memory=0"), SqliteBackend)


def test_memory_options_reach_the_memory() -> None:
    backend = open_backend("sqlite:///x.db?memory=64MB&memory_entries=10&memory_ttl=2.5")
    assert isinstance(backend, Tiered)
    assert backend._front_ttl == 2.5
    assert (backend._front._lru._max_items, backend._front._lru._max_weight) == (10, 64 * 10**6)


def test_sqlite_options_reach_the_store() -> None:
    plain = sqlite_of(open_backend("sqlite:///x.db"))
    told = sqlite_of(open_backend("sqlite:///x.db?write_behind=1&max_bytes=5MB"))
    assert (plain._write_behind, told._write_behind) == (False, True)
    assert (plain._rows._max_bytes, told._rows._max_bytes) == (2**30, 5 * 10**6)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "no file is named"),
        ("sqlite:///", "no file is named"),
        ("sqlite:///folder/", "no file is named"),
        ("sqlite://host/x.db", "a file has no host; write sqlite:///relative.db"),
        ("sqlite:///:memory:", "write memory://"),
        ("sqlite:///x.db?memory=1", "option 'memory' must be 65536 bytes or more"),
        ("sqlite:///x.db?memory=0&memory_ttl=5", "option 'memory_ttl' makes no sense with memory=0"),
        ("sqlite:///x.db?memory=0&memory_entries=5", "option 'memory_entries' makes no sense"),
        ("sqlite:///x%00.db", "null byte"),
        ("sqlite:///x%ff.db", "malformed"),
        ("sqlite:///x#1.db", "write it as %23"),
        ("sqlite:///x.db?a", "malformed"),
        ("sqlite:///x.db?%ff=1", "malformed"),
        ("sqlite://[x/y.db", "malformed"),
        ("memory://host", "write memory://"),
        ("memory:///path", "write memory://"),
        (
            "sqlite:///x.db?max_byte=1",
            "unknown option 'max_byte'; known: max_bytes, write_behind, memory, memory_entries, memory_ttl",
        ),
        (
            "memory://?max_entries=1&max_entries=1",
            "option 'max_entries' of the memory:// URL is given more than once",
        ),
        ("redsi://", "unknown backend scheme 'redsi'; known: memory, redis, "),
        ("sqlit://", "(did you mean 'sqlite'?)"),
    ],
)
def test_impossible_url_is_explained(url: str, words: str) -> None:
    assert words in problem(url)


@pytest.mark.parametrize(
    "text", ["", " ", "memory", "cache.db", "/srv/cache.db", "sqlite:/x.db", "://x", None, 7]
)
def test_what_is_no_url_is_answered_with_an_example(text: Any) -> None:
    assert problem(text) == (
        "not a backend URL; a backend is named by a URL such as 'sqlite:///answers.db' or 'memory://'"
    )


@pytest.mark.parametrize(
    "url",
    [
        f"sqlite://user:{SECRET}@host/x.db",
        f"sqlite://user:{SECRET}@[host/x.db",
        f"sqlite:///x.db?password={SECRET}",
        f"sqlite:///x.db?{SECRET}",
        f"sqlite:///x.db?memory={SECRET}",
        f"sqlite:///x.db?write_behind={SECRET}",
        f"memory://user:{SECRET}@host",
        f"mysql://user:{SECRET}@host",
        SECRET,
    ],
)
def test_error_never_quotes_what_may_be_a_secret(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_backend(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_repr_of_a_url_hides_credentials_and_values() -> None:
    url = BackendURL.parse(f"redis://user:{SECRET}@host:6379/0?password={SECRET}")
    assert repr(url) == "<BackendURL redis://host:6379/0?password=…>"
    assert (url.netloc, url.options) == (f"user:{SECRET}@host:6379", {"password": SECRET})


def test_registered_backend_is_opened_with_its_url() -> None:
    seen: list[BackendURL] = []

    def factory(url: BackendURL) -> Backend:
        seen.append(url)
        return MemoryBackend()

    register_backend("shelf", factory)
    assert isinstance(open_backend("shelf://host:1/a%20b?colour=red"), MemoryBackend)
    assert seen == [BackendURL("shelf", "host:1", "/a b", {"colour": "red"})]
    assert set(known_backends()) >= {"memory", "redis", "redis+cluster", "shelf", "sqlite"}


@pytest.mark.parametrize("scheme", ["", "Shelf", "1shelf", "shelf://", "my shelf"])
def test_scheme_that_is_none_cannot_be_registered(scheme: str) -> None:
    with pytest.raises(ConfigurationError, match="not a lower-case URL scheme"):
        register_backend(scheme, lambda _: MemoryBackend())


def test_factory_that_makes_no_backend_is_named() -> None:
    register_backend("shelf", lambda _: {})  # type: ignore[arg-type, return-value]  # on purpose
    assert problem("shelf://") == "shelf:// URL: its factory made a dict, which is not a Backend"


def install(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> list[str]:
    """Pretend that a package with this entry point is installed; the groups asked for."""
    asked: list[str] = []

    def entry_points(*, group: str) -> EntryPoints:
        asked.append(group)
        return EntryPoints([EntryPoint(name, value, group)])

    monkeypatch.setattr(_registry, "entry_points", entry_points)
    return asked


def test_installed_package_brings_its_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = install(monkeypatch, "shelf", "asynccache.backends.memory:from_url")
    assert isinstance(open_backend("memory://"), MemoryBackend)
    assert asked == []  # looking costs a walk through everything installed
    assert isinstance(open_backend("shelf://?max_entries=3"), MemoryBackend)
    assert set(asked) == {"asynccache.backends"}
    assert set(known_backends()) >= {"memory", "redis", "redis+cluster", "shelf", "sqlite"}


@pytest.mark.parametrize("value", ["no_such_module:f", "asynccache.backends.memory:absent"])
def test_installed_package_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    install(monkeypatch, "shelf", value)
    assert f"the backend 'shelf' ({value}) cannot be loaded" in problem("shelf://")


def test_default_is_a_file_in_the_users_cache_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "a b#c"
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name, **_: folder / name)
    url = default_backend_url()
    assert url.startswith("sqlite:////")
    assert path_of(open_backend(url)) == str(folder / "asynccache" / "cache.sqlite")
    assert not folder.exists()


def test_built_in_dialect_is_found_and_kept() -> None:
    dialect = find_dialect("chat.completions")
    assert isinstance(dialect, ChatCompletions)
    assert find_dialect("chat.completions") is dialect


def test_registered_dialect_replaces_the_built_in() -> None:
    mine = ChatCompletions()
    register_dialect(mine)
    assert find_dialect("chat.completions") is mine


def test_unknown_dialect_is_explained() -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_dialect("chat.completion")
    assert str(caught.value) == (
        "unknown dialect 'chat.completion'; known: chat.completions, completions, embeddings, messages, "
        "responses (did you mean 'chat.completions'?)"
    )


def test_registry_loads_no_backend_before_it_is_asked_for() -> None:
    script = (
        "import sys; from asynccache._registry import open_backend;"
        "print('asynccache.backends.sqlite' in sys.modules);"
        "open_backend('memory://'); print('aiosqlite' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
