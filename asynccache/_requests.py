"""What a caller gives becomes a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

from asynccache._errors import ConfigurationError, InvalidRequest
from asynccache._models import NO_CONTROL, NO_SCOPE, Control, Request, Scope

__all__ = ["ControlLike", "Requests", "ScopeLike"]

ScopeLike: TypeAlias = "Scope | Mapping[str, Any] | None"
ControlLike: TypeAlias = "Control | Mapping[str, Any] | None"


class Requests:
    """Makes requests of bodies, scopes and controls, in whichever form a caller gives them.

    Args:
        default_model: model of bodies that name none.
        needs_model: whether a body without one is an error, when there is no default.
        scope: the scope of requests that give none; its namespace is that of requests that name none.
        scope_from: derives the scope from the body instead.
    """

    def __init__(
        self,
        *,
        default_model: str | None,
        needs_model: bool,
        scope: Scope,
        scope_from: Callable[[Mapping[str, Any]], ScopeLike] | None,
    ) -> None:
        self._default_model: Final = default_model
        self._needs_model: Final = needs_model
        self._scope: Final = scope
        self._scope_from: Final = scope_from

    def __call__(self, given: object, scope: ScopeLike, control: ControlLike) -> Request:
        """The request as the pipeline asks it.

        Raises:
            InvalidRequest: naming the field.
            ConfigurationError: no model is named, and the upstream needs one.
        """
        # A dict is by far the most frequent, and asking the abstract Mapping is slow.
        if not isinstance(given, (dict, Request, Mapping)):
            raise InvalidRequest("body", f"expected a mapping, got {type(given).__name__}")
        if isinstance(given, Request):
            if not isinstance(given.body, (dict, Mapping)):
                raise InvalidRequest("body", f"expected a mapping, got {type(given.body).__name__}")
            if scope is not None or control is not None:
                raise InvalidRequest(
                    "scope", "a Request carries its own scope and control; change them there"
                )
            if given.scope is NO_SCOPE and self._scope_from is not None:
                given = replace(given, scope=Scope.of(self._scope_from(given.body)))
            placed = self._placed(given.scope)
            return given if placed is given.scope else replace(given, scope=placed)
        body, owner = self.plain(given, scope)
        return Request.plain(body, owner, NO_CONTROL if control is None else Control.of(control))

    def plain(self, body: Mapping[str, Any], scope: ScopeLike) -> tuple[Mapping[str, Any], Scope]:
        """Body and scope of the request. Raises as the call."""
        if body.get("model") is None:
            body = self._with_model(body)
        if scope is None and self._scope_from is not None:
            scope = self._scope_from(body)
        return body, self._scope if scope is None else self._placed(Scope.of(scope))

    def _with_model(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._default_model is not None:
            return {**body, "model": self._default_model}
        if self._needs_model:
            raise ConfigurationError("model: name one in the call, or give the pipeline default_model=")
        return {name: value for name, value in body.items() if name != "model"} if "model" in body else body

    def _placed(self, scope: Scope) -> Scope:
        """The scope, in the pipeline's namespace where it names none."""
        if scope.namespace is not None or self._scope.namespace is None:
            return scope
        return replace(scope, namespace=self._scope.namespace)
