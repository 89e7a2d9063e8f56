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
from asynccache.cli._store import named, open_existing, options_of

__all__ = ["run"]


def run(given: argparse.Namespace) -> int:
    """Print the answer, or say that there is none."""
    body = _body(given)
    options = options_of(given)
    url = options["backend"]
    # As the pipeline that stored it: in the default file, answers are kept apart by upstream.
    cache = _pipeline(options, backend=open_existing(url), shared_file=_is_default(given, options))
    scope = Scope(tenant=given.tenant, user=given.user, namespace=given.namespace)
    try:
        outcome = anyio.run(_look_up, cache, body, scope)
    except NotCached:
        complain(f"not cached: {named(url)} holds no answer to this very request")
        return 1
    if given.json:
        say(orjson.dumps(_document(outcome), option=orjson.OPT_INDENT_2).decode())
    else:
        say(f"{table(_words(outcome))}\n\n{outcome.text or orjson.dumps(outcome.json()).decode()}")
    return 0
