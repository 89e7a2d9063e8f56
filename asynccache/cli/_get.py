"""``asynccache get``: the stored answer to a question."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import orjson

from asynccache._errors import ConfigurationError, InvalidRequest, NotCached
from asynccache._models import Control, Scope
from asynccache._outcome import Outcome
from asynccache._pipeline import CachePipeline
from asynccache.cli._output import complain, duration, say, table
from asynccache.cli._store import named, open_existing, options_of, url_of

__all__ = ["run"]


def run(given: argparse.Namespace) -> int:
    """Print the answer, or say that there is none."""
    body = _body(given)
    options = options_of(given)
    url = url_of(options)
    backend = open_existing(url)
    in_default_store = options.pop("backend", None) is None
    upstream = options.pop("upstream", None)
    scope = Scope(tenant=given.tenant, user=given.user, namespace=given.namespace)
    options["strict"] = True
    options["decision"] = None  # the very request, and no near one
    if in_default_store and upstream is not None:
        # All of a user's programs share that store, which keeps answers apart by upstream.
        cache = CachePipeline(upstream, **options)
    else:
        options.pop("api_key", None)
        cache = CachePipeline(_nobody, backend=backend, **options)
    try:
        outcome = anyio.run(_look_up, cache, body, scope)
    except NotCached:
        hint = ""
        if in_default_store and upstream is None:
            hint = "; the default store keeps answers apart by upstream: set ASYNCCACHE_UPSTREAM to its URL"
        complain(f"not cached: {named(url)} holds no answer to this very request{hint}")
        return 1
    if given.json:
        say(orjson.dumps(_document(outcome), option=orjson.OPT_INDENT_2).decode())
    else:
        say(f"{table(_words(outcome))}\n\n{outcome.text or orjson.dumps(outcome.json()).decode()}")
    return 0


def _body(given: argparse.Namespace) -> Mapping[str, Any]:
    body: Any
    if given.body is None:
        messages = [] if given.system is None else [{"role": "system", "content": given.system}]
        body = {**dict(given.param), "messages": [*messages, {"role": "user", "content": given.question}]}
    else:
        text = sys.stdin.buffer.read() if given.body == "-" else Path(given.body).read_bytes()
        try:
            body = orjson.loads(text)
        except orjson.JSONDecodeError:  # its words may quote the request
            raise ConfigurationError(f"--body {given.body}: not a JSON document") from None
        if not isinstance(body, dict):
            raise InvalidRequest("body", "expected a JSON object")
    return body if given.model is None else {**body, "model": given.model}


async def _nobody(_: Mapping[str, Any]) -> str:
    raise NotCached("the command line asks no upstream")


async def _look_up(cache: CachePipeline, body: Mapping[str, Any], scope: Scope) -> Outcome:
    async with cache:
        return await cache.fetch(body, scope=scope, control=Control(only_if_cached=True))


def _document(outcome: Outcome) -> dict[str, Any]:
    saved = outcome.saved
    return {
        "source": outcome.source.value,
        "age_seconds": outcome.age,
        "saved": {"tokens": saved.tokens, "seconds": saved.seconds, "money": saved.money},
        "answer": outcome.json(),
    }


def _words(outcome: Outcome) -> dict[str, str]:
    saved = outcome.saved
    spared = [duration(saved.seconds)]
    if saved.tokens:  # not every upstream reports them
        spared.append(f"{saved.tokens:,} tokens")
    if saved.money is not None:
        spared.append(f"{saved.money:.6f} in the currency of your prices")
    return {
        "source": outcome.source.value,
        "age": duration(outcome.age or 0.0),
        "saved": ", ".join(spared),
    }
