"""What makes two calls of a function the same call."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

import orjson

from asynccache._calls.values import TOKENS, Unencodable, ValueEncoder
from asynccache._errors import InvalidRequest

__all__ = ["CallKey", "function_identity"]

FORMAT: Final = "asynccache.call/1"
"""Part of every key: a change of the encoding starts a new set of keys."""

_PLAIN: Final = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


def function_identity(function: Callable[..., object]) -> str:
    """Module and qualified name, the same in every run of the program.

    ``__main__`` is another module in every program: its file stands for it, or the name it was run by.
    """
    module = function.__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        module = spec.name if spec is not None else getattr(main, "__file__", None) or module
    return f"{module}:{function.__qualname__}"


class CallKey:
    """Makes the keys of one function's calls.

    Args:
        function: read by its own signature, defaults applied: how an argument was passed does not count.
        version: part of every key.
        key: takes the arguments in place of the signature; what it returns is the key.
        durable: keys must mean the same in other processes. Else a parameter called ``self`` that comes
            first, and types that cannot be imported, are told apart by identity.
    """

    def __init__(
        self,
        function: Callable[..., object],
        *,
        version: str | None,
        key: Callable[..., object] | None,
        durable: bool,
    ) -> None:
        self._encode: Final = ValueEncoder(None if durable else TOKENS).encode
        self.identity: Final = function_identity(function)
        self.partition: Final = _hash([FORMAT, self._encode(self.identity)])
        """32 bytes; common to all calls of the function, whatever the version."""
        # Not of what it wraps: that one's defaults and parameters may be others.
        self._signature: Final = inspect.signature(function, follow_wrapped=False)
        self._names: Final = tuple(self._signature.parameters)
        parameters = self._signature.parameters.values()
        self._plain: Final = all(each.kind in _PLAIN for each in parameters)
        self._positional: Final = sum(
            each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for each in parameters
        )
        self._defaults: Final = {
            each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty
        }
        self._instance: Final = not durable and self._names[:1] == ("self",)
        self.version: Final = version
        kind = "call" if key is None else "key"
        self._head: Final = [FORMAT, self._encode(self.identity), self._encode(version), kind]
        self._key: Final = key

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes | None:
        """The call's key, 32 bytes; None when the function cannot be called with these arguments.

        Raises:
            InvalidRequest: naming the parameter that cannot be part of a key.
        """
        if self._key is not None:
            return _hash([*self._head, self._encoded("key", self._key(*args, **kwargs))])
        arguments = self._bound(args, kwargs)
        if arguments is None:
            return None
        parts = list(self._head)
        for name, value in arguments.items():
            parts.append(name)
            parts.append(self._encoded(name, value))
        return _hash(parts)

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
        """Values by name in the order of the signature, defaults applied."""
        if self._plain:  # as Signature.bind, at a fifth of its cost
            names = self._names
            given = dict(zip(names, args, strict=False))
            if len(args) > self._positional or not given.keys().isdisjoint(kwargs):
                return None
            if len(given) == len(names) and not kwargs:
                return given
            known = {**self._defaults, **given, **kwargs}
            if len(known) != len(names) or not known.keys() <= self._signature.parameters.keys():
                return None
            return {name: known[name] for name in names}
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError:
            return None
        bound.apply_defaults()
        return bound.arguments

    def _encoded(self, name: str, value: object) -> Any:
        try:
            if self._instance and name == "self":
                return ["self", TOKENS.token(value)]
            return self._encode(value)
        except (Unencodable, RecursionError) as error:
            remedy = "return something else from key=" if self._key else "give key="
            raise InvalidRequest(name, f"{error}; {remedy}") from None


def _hash(parts: list[Any]) -> bytes:
    return sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).digest()
