"""A pipeline's options from a TOML file and the environment."""

from __future__ import annotations

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from asynccache._deciders import KNOWN
from asynccache._errors import ConfigurationError
from asynccache._keys import parse_history
from asynccache._registry import open_backend
from asynccache._url import BackendURL

__all__ = ["load"]

_PREFIX: Final = "ASYNCCACHE_"
_FILE_VARIABLE: Final = "ASYNCCACHE_CONFIG"
_DEFAULT_FILE: Final = "asynccache.toml"
_NUMBER: Final = re.compile(r"\d+(\.\d+)?", re.ASCII)
_FLAGS: Final = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


def load(
    path: str | os.PathLike[str] | None, environ: Mapping[str, str], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Keyword arguments for a ``CachePipeline``.

    An option is taken from ``overrides``, else from its variable (``ASYNCCACHE_TTL`` …), else from the
    file; those given nowhere are left out. An empty variable counts as unset. A file holds the options as
    top-level keys, with the types the constructor takes; ``ttl`` may also be ``"none"`` (never expires) and
    ``max_request_bytes`` a size such as ``"16MB"``. A variable holds them as text, ``prices`` as JSON.

    Args:
        path: the file; None takes ``ASYNCCACHE_CONFIG``, else ``asynccache.toml`` in the working directory
            if there is one.
        environ: the environment.
        overrides: arguments given in code; passed on as they are, for the constructor to check.

    Raises:
        ConfigurationError: the file cannot be read; or an option is unknown or cannot work, and then the
            sentence says which one and where it was given. Values are not quoted: one may be a secret.
    """
    variables = _variables(environ)
    return {
        **_from_file(path, variables.pop(_FILE_VARIABLE, None)),
        **_from_variables(variables),
        **overrides,
    }


class _UnfitError(Exception):
    """The value is not what the option takes."""


@dataclass(frozen=True, slots=True)
class _Option:
    check: Callable[[Any], Any]
    """From the value as a file has it to what the constructor takes. Raises _UnfitError."""
    wanted: str
    read: Callable[[str], Any] = str
    """From a variable's text to what a file would have. Raises ValueError."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _UnfitError
    return value


def _url(value: Any) -> str:
    # The upstream itself has more to object to, but loads an HTTP client to do so.
    if not re.match(r"https?://[^/]", _text(value)):
        raise _UnfitError
    return str(value)


def _backend(value: Any) -> str:
    open_backend(_text(value))  # opens nothing yet; says what is wrong with the URL and its options
    return str(value)


def _seconds(value: Any) -> float | None:
    if value == "none":
        return None
    return _amount(value)


def _amount(value: Any) -> float:
    # TOML knows infinity, not-a-number and integers that no float holds.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= sys.float_info.max:
        raise _UnfitError
    return value


def _size(value: Any) -> int:
    if isinstance(value, str):
        try:
            return BackendURL("", "", "", {"size": value}).size("size", 0)
        except ConfigurationError:
            raise _UnfitError from None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _UnfitError
    return value


def _abandoned(value: Any) -> str:
    if value not in ("close", "finish"):
        raise _UnfitError
    return str(value)


def _consistency(value: Any) -> str:
    if value not in ("eventual", "strong"):
        raise _UnfitError
    return str(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _UnfitError
    return value


def _prices(value: Any) -> dict[str, tuple[float, float]]:
    if not isinstance(value, Mapping):
        raise _UnfitError
    prices: dict[str, tuple[float, float]] = {}
    for model, pair in value.items():
        if not isinstance(pair, list) or len(pair) != 2:  # noqa: PLR2004  (prompt, completion)
            raise _UnfitError
        prices[model] = (_amount(pair[0]), _amount(pair[1]))
    return prices


def _read_number(text: str) -> float | str:
    return float(text) if _NUMBER.fullmatch(text) else text


def _read_flag(text: str) -> bool | str:
    return _FLAGS.get(text.lower(), text)


def _decision(value: Any) -> str | None:
    if value not in ("none", *KNOWN):
        raise _UnfitError
    return None if value == "none" else str(value)


def _error(value: Any) -> float:
    if not 0 < _amount(value) < 1:
        raise _UnfitError
    return float(value)


def _guards(value: Any) -> list[str]:
    if not isinstance(value, list) or not set(map(str, value)) <= {
        "numbers",
        "negation",
        "units",
        "entities",
    }:
        raise _UnfitError
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _UnfitError
    return value


def _read_count(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text


def _read_list(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _cosine(value: Any) -> float:
    if _amount(value) > 1:
        raise _UnfitError
    return float(value)


def _thresholds(value: Any) -> float | dict[str | None, float]:
    """One, or a table of one for each namespace, in which "" stands for all others (TOML has no null)."""
    if not isinstance(value, Mapping):
        return _cosine(value)
    return {namespace or None: _cosine(least) for namespace, least in value.items()}


def _history(value: Any) -> str:
    try:
        parse_history(_text(value))
    except ConfigurationError:
        raise _UnfitError from None
    return str(value)


_SOME_TEXT: Final = "a string that is not empty"
_OPTIONS: Final[Mapping[str, _Option]] = {
    "upstream": _Option(_url, "a base URL such as 'http://127.0.0.1:8000/v1'"),
    "backend": _Option(_backend, "a URL such as 'sqlite:///answers.db'"),
    "api_key": _Option(_text, _SOME_TEXT),
    "default_model": _Option(_text, _SOME_TEXT),
    "ttl": _Option(_seconds, "0 or more seconds, or 'none' for answers that never expire", _read_number),
    "namespace": _Option(_text, _SOME_TEXT),
    "abandoned": _Option(_abandoned, "'close' or 'finish'"),
    "max_index_bytes": _Option(_size, "a number of bytes above 0, or a size such as '2GiB'"),
    "max_request_bytes": _Option(_size, "a number of bytes above 0, or a size such as '16MB'"),
    "prices": _Option(
        _prices,
        "a table of models, each with two numbers: [per million prompt tokens, completion]",
        orjson.loads,
    ),
    "decision": _Option(_decision, f"'none' or one of {', '.join(map(repr, KNOWN))}"),
    "max_error": _Option(_error, "a share above 0 and below 1, such as 0.02", _read_number),
    "guards": _Option(_guards, "a list of 'numbers', 'negation', 'units' and 'entities'", _read_list),
    "audit": _Option(_cosine, "a share from 0 to 1, such as 0.02", _read_number),
    "audits_per_minute": _Option(_count, "a whole number above 0", _read_count),
    "embedder": _Option(_text, "'default', or the name or the folder of a model"),
    "threshold": _Option(
        _thresholds,
        "a cosine from 0 to 1, or a table of one for each namespace",
        orjson.loads,
    ),
    "threshold_floor": _Option(_cosine, "a cosine from 0 to 1", _read_number),
    "history": _Option(_history, "'equal', 'ignore' or 'last:n'"),
    "consistency": _Option(_consistency, "'eventual' or 'strong'"),
    "strict": _Option(_flag, "true or false", _read_flag),
}
"""The arguments of ``CachePipeline`` that are data. The others (stages, hooks, a clock …) are code."""


_OF_OTHERS: Final = ("ASYNCCACHE_TENANT_SECRET", "ASYNCCACHE_TEST_")
"""Variables that are read elsewhere: by ``VLLMUpstream``, and by tests."""


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Those that are ours and say something."""
    given = {name: text for name, text in environ.items() if name.startswith(_PREFIX) and text}
    given = {name: text for name, text in given.items() if not name.startswith(_OF_OTHERS)}
    known = {option: _variable(option) for option in (*_OPTIONS, "config")}
    for name in given:
        if name not in known.values():
            raise _unknown("unknown variable", name, known)
    return given


def _variable(option: str) -> str:
    return _PREFIX + option.upper()


def _from_variables(variables: Mapping[str, str]) -> dict[str, Any]:
    options = {}
    for name, option in _OPTIONS.items():
        variable = _variable(name)
        if variable not in variables:
            continue
        try:
            value = option.read(variables[variable])
        except ValueError:  # its words may quote the value
            raise _unfit(variable, option) from None
        options[name] = _checked(variable, option, value)
    return options


def _from_file(path: str | os.PathLike[str] | None, from_variable: str | None) -> dict[str, Any]:
    named = os.fspath(path) if path is not None else from_variable
    if named is None:
        if not Path(_DEFAULT_FILE).exists():
            return {}
        named = _DEFAULT_FILE
    try:
        document = tomllib.loads(Path(named).read_text(encoding="utf-8"))
    except OSError as error:
        named += f" ({_FILE_VARIABLE})" if path is None and from_variable is not None else ""
        raise ConfigurationError(f"{named}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or beyond Python's limits
        raise ConfigurationError(f"{named}: not a TOML file ({_place(error)})") from None
    for name in document:
        if name not in _OPTIONS:
            raise _unknown(f"{named}: unknown option", name, {option: option for option in _OPTIONS})
    return {name: _checked(f"{named}: {name}", _OPTIONS[name], value) for name, value in document.items()}


def _place(error: Exception) -> str:
    # Only where: the parser's words may quote what stands there.
    found = re.search(r"line \d+, column \d+|end of document", str(error))
    return f"see {found[0]}" if found else type(error).__name__


def _checked(where: str, option: _Option, value: Any) -> Any:
    try:
        return option.check(value)
    except _UnfitError:
        raise _unfit(where, option) from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _unfit(where: str, option: _Option) -> ConfigurationError:
    return ConfigurationError(f"{where}: expected {option.wanted}")


def _unknown(what: str, name: str, known: Mapping[str, str]) -> ConfigurationError:
    """``known`` maps options to what they are called here; the nearest is looked for without the prefix."""
    near = difflib.get_close_matches(name.removeprefix(_PREFIX).lower(), known, n=1)
    hint = f"did you mean {known[near[0]]!r}?" if near else f"known: {', '.join(known.values())}"
    return ConfigurationError(f"{what} {name!r}; {hint}")
