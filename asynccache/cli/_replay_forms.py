"""What a line of a replayed file may be, and the request and answer it records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from asynccache._errors import AsyncCacheError, InvalidRequest
from asynccache._models import NO_CONTROL, Request, Response, Scope
from asynccache._registry import find_dialect
from asynccache.upstreams._failures import check_document

if TYPE_CHECKING:
    from asynccache._keys import Keyring

__all__ = ["FORMS", "BadLine", "Form", "Recorded", "form_of", "question_of"]

_DIALECT: Final = "chat.completions"
_SCOPE: Final = ("tenant", "user", "namespace")
_STREAMING: Final = ("stream", "stream_options")
"""How an answer travelled says nothing of what it was; a replay takes them whole."""


class BadLine(AsyncCacheError):
    """A line is not of the file's form. Its words name a field and quote nothing."""


class Recorded(NamedTuple):
    """A request, and the answer it got."""

    request: Request
    response: Response
    question: str | None
    """What the semantic tier compares; None when it would not look at this request."""


class Form(NamedTuple):
    """What the lines of a file look like."""

    fields: tuple[str, str]
    """By which it is known: a line has both."""
    labelled: bool
    """Whether its answers are labels, so that equal means right and all else wrong."""
    read: Callable[[Mapping[str, Any]], tuple[dict[str, Any], Scope, str | bytes]]
    """Body, scope and answer: its text, or its document."""

    def recorded(self, line: Mapping[str, Any], keyring: Keyring) -> Recorded:
        """What a line records.

        Raises:
            BadLine: it is not of this form, naming the field.
        """
        try:
            body, scope, answer = self.read(line)
            request = Request.plain(body, scope, NO_CONTROL)
            found = keyring.fingerprint(request)
        except InvalidRequest as error:
            raise BadLine(str(error)) from None
        dialect = find_dialect(_DIALECT)
        document = answer if isinstance(answer, bytes) else orjson.dumps(dialect.answer(body, answer))
        return Recorded(request, Response(document), None if found.uncacheable else found.question)


def form_of(line: Mapping[str, Any]) -> Form | None:
    """The form of a line; None when it has the fields of none."""
    return next((form for form in FORMS if all(name in line for name in form.fields)), None)


def question_of(prompt: str, keyring: Keyring) -> str:
    """A prompt as the cache reads it."""
    return keyring.fingerprint(Request(body=_asking(prompt))).question or ""


def _stream(line: Mapping[str, Any]) -> tuple[dict[str, Any], Scope, str]:
    return _asking(_text(line, "prompt")), Scope(), _text(line, "cls")


def _question(line: Mapping[str, Any]) -> tuple[dict[str, Any], Scope, str]:
    system, model = (_text_or_none(line, name) for name in ("system", "model"))
    return _asking(_text(line, "question"), system=system, model=model), _scope(line), _text(line, "answer")


def _messages(line: Mapping[str, Any]) -> tuple[dict[str, Any], Scope, str]:
    model = _text_or_none(line, "model")
    body = {"messages": _field(line, "messages")} | ({} if model is None else {"model": model})
    return body, _scope(line), _text(line, "answer")


def _exchange(line: Mapping[str, Any]) -> tuple[dict[str, Any], Scope, bytes]:
    for name in ("request", "response"):
        if not isinstance(_field(line, name), dict):
            raise BadLine(f"{name}: expected an object, got {_kind(line[name])}")
    document = orjson.dumps(line["response"])
    try:
        check_document(document)
    except AsyncCacheError:
        raise BadLine("response: not a chat completion") from None
    if not isinstance(choices := line["response"].get("choices"), list) or not choices:
        raise BadLine("response.choices: expected a list of at least one choice")
    body = {name: value for name, value in line["request"].items() if name not in _STREAMING}
    return body, _scope(line), document


FORMS: Final = (
    Form(("prompt", "cls"), labelled=True, read=_stream),
    Form(("question", "answer"), labelled=False, read=_question),
    Form(("messages", "answer"), labelled=False, read=_messages),
    Form(("request", "response"), labelled=False, read=_exchange),
)


def _asking(question: str, *, system: str | None = None, model: str | None = None) -> dict[str, Any]:
    messages = [] if system is None else [{"role": "system", "content": system}]
    body = {"messages": [*messages, {"role": "user", "content": question}]}
    return body if model is None else {**body, "model": model}


def _scope(line: Mapping[str, Any]) -> Scope:
    return Scope(**{name: _text_or_none(line, name) for name in _SCOPE})


def _field(line: Mapping[str, Any], name: str) -> Any:
    if name not in line:
        raise BadLine(f"{name}: is not there")
    return line[name]


def _text(line: Mapping[str, Any], name: str) -> str:
    """A field that must hold text."""
    found = _field(line, name)
    if not isinstance(found, str) or not found:
        raise BadLine(f"{name}: expected text, got {_kind(found)}")
    return found


def _text_or_none(line: Mapping[str, Any], name: str) -> str | None:
    found = line.get(name)
    if found is not None and not isinstance(found, str):
        raise BadLine(f"{name}: expected text, got {_kind(found)}")
    return found


def _kind(value: object) -> str:
    """What JSON calls it."""
    match value:
        case None:
            return "null"
        case "":
            return "an empty text"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"
