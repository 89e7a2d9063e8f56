"""What the demo shows, on a terminal and in a pipe."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from asynccache.cli._demo_semantic import EXAMPLES, hit_rate, own_account, rule, wrong_hits
from asynccache.cli._labels import spread
from asynccache.cli._output import duration, size
from asynccache.cli._store import file_of, named
from asynccache.cli._tally import Kind, percentile
from asynccache.cli._workload import ATTRIBUTION, EXPONENT, SEED, Ask, questions

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from asynccache._outcome import Outcome
    from asynccache._stats import Stats
    from asynccache.cli._labels import Labels
    from asynccache.cli._tally import Tally

__all__ = ["Report"]

_STYLES: Final = {
    Kind.MEMORY: "green",
    Kind.STORE: "green",
    Kind.SEMANTIC: "magenta",
    Kind.SHARED: "cyan",
    Kind.UPSTREAM: "yellow",
}


class Report:
    """Prints as the run goes on.

    Args:
        given: the command's arguments.
        url: the store's.
    """

    def __init__(self, given: argparse.Namespace, url: str) -> None:
        self._console: Final = Console(highlight=False, markup=False, emoji=False)
        self._given: Final = given
        self._url: Final = url
        self._file: Final = file_of(url)
        self._store: Final = "SQLite" if self._file is not None else named(url)
        self._lasting: Final = not url.startswith("memory:")

    def opening(self, base_url: str, asks: list[Ask], *, entries: int | None) -> None:
        """Say what is going to be asked, of whom, and what the store holds already."""
        given = self._given
        if given.upstream is None:
            upstream = (
                f"a stand-in server at {base_url}, over real HTTP. It is not a language model: it waits "
                f"{duration(given.latency)} and gives the answer written for the question's intent, with "
                "varying polite words around it."
            )
        else:
            upstream = f"{base_url}, model {given.model}"
        distinct, known = len({ask.question for ask in asks}), questions()
        self._console.print(Text("asynccache demo", style="bold"), end="\n\n")
        self._grid(
            {
                "upstream": upstream,
                "questions": f"{len(known)} customer questions of {len(set(known.values()))} intents from "
                f"{ATTRIBUTION}. The questions are real; their repetition is drawn from a Zipf distribution "
                f"(exponent {EXPONENT:g}) with seed {SEED}.",
                "requests": f"{len(asks):,}, asking {distinct} different questions, {given.rate:,} a "
                f"second, at most {given.concurrency} at a time, every fourth streamed",
                "store": f"{named(self._url)}, {self._holding(entries)}",
            }
        )

    @staticmethod
    def _holding(entries: int | None) -> str:
        if entries is None:
            return "size unknown"
        if not entries:
            return "empty"
        return f"which already holds {entries:,} {'entry' if entries == 1 else 'entries'} from before"

    def loading(self, model: str) -> AbstractContextManager[object]:
        """Show that a model is being loaded, while it lasts; on a terminal only."""
        if not self._console.is_terminal:
            return nullcontext()
        return self._console.status(f"loading {model}")

    def semantic(self, model: str, seconds: float) -> None:
        """Say how near questions are answered."""
        self._grid(
            {
                "semantic": f"{model}, on this machine, loaded in {duration(seconds)}. {rule(self._given)}",
            }
        )

    def exact_only(self, reason: str) -> None:
        """Say that only the very same request is answered, and why."""
        self._grid({"semantic": Text(f"none, the exact tier only: {reason}", style="yellow")})

    def first(self, kind: Kind, seconds: float, outcome: Outcome) -> None:
        """Tell how the very first request was answered; it went alone."""
        told = f"{self._label(kind)}, {duration(seconds)}"
        if outcome.age is not None:
            took = duration(outcome.saved.seconds)
            told += f"; the answer was made {duration(outcome.age)} ago, in {took}"
        self._console.print()
        self._grid({"first request": Text(told, style=_STYLES[kind])})

    @contextmanager
    def progress(self, tally: Tally, labels: Labels) -> Iterator[Callable[[Kind, float, Outcome], None]]:
        """A bar while it lasts, on a terminal only. Call what it gives after each answer."""
        if not self._console.is_terminal:
            yield lambda *_: None
            return
        with Progress(
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TextColumn(
                "{task.fields[exact]} exact, {task.fields[semantic]} semantic ({task.fields[wrong]} wrong)"
            ),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        ) as bar:
            task = bar.add_task("", total=self._given.requests, exact=0, semantic=0, wrong=0)

            def show(*_: object) -> None:
                bar.update(
                    task,
                    completed=tally.requests,
                    exact=tally.exact,
                    semantic=tally.semantic,
                    wrong=labels.wrong,
                )

            yield show

    def closing(
        self,
        tally: Tally,
        labels: Labels | None,
        stats: Stats,
        *,
        shared: int,
        seconds: float,
        upstream_calls: int,
        counted_by_server: bool,
        entries: int | None,
    ) -> None:
        """Show the figures.

        Args:
            tally: what was seen.
            labels: which semantic hits were right; None without a semantic tier.
            stats: what the cache says itself.
            shared: answers to near questions that were in the making when they were asked for.
            seconds: how long the run took.
            upstream_calls: calls the upstream got.
            counted_by_server: whether it is the upstream itself that says so.
            entries: entries in the store now.
        """
        if not tally.requests:
            return
        self._console.print(self._table(tally, without=Kind.SEMANTIC if labels is None else None))
        avoided = tally.requests - upstream_calls
        counted = " (by the server's own count)" if counted_by_server else ""
        rows = {
            "upstream calls": f"{upstream_calls:,} made{counted}, {avoided:,} avoided",
            "hit rate": hit_rate(tally, labels),
        }
        if labels is not None:
            rows["wrong hits"] = wrong_hits(labels, promised=self._given.threshold is None, shared=shared)
            account = own_account(stats, self._given.upstream)
            if account is not None:
                rows["its own account"] = account
        rows |= {
            "time saved": f"{duration(tally.saved_seconds)}, as long as the answers of all hits took to make"
            f"{', wrong ones included' if labels is not None and labels.wrong else ''}; the run took "
            f"{duration(seconds)}",
            "store": f"{named(self._url)}{self._size(entries)}",
        }
        if tally.seconds[Kind.STORE]:
            rows["memory"] = f"empty when the run begins: until a question is in it, {self._store} answers"
        if self._lasting:
            # Not the URL as given: it may hold a password.
            option = f"--backend {self._url}" if self._file is not None else "--backend …"
            rows["look inside"] = f"asynccache stats {option}"
            rows["start afresh"] = f"asynccache clear {option}"
        self._grid(rows)
        if labels is not None:
            self._examples(labels)
        self._farewell(upstream_calls)

    def _table(self, tally: Tally, *, without: Kind | None) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("source")
        for name in ("requests", "p50", "p99"):
            table.add_column(name, justify="right")
        for kind in Kind:
            if kind is without:
                continue
            times = tally.seconds[kind]
            figures = [duration(percentile(times, share)) for share in (0.5, 0.99)] if times else ["", ""]
            table.add_row(
                self._label(kind), f"{len(times):,}", *figures, style=_STYLES[kind] if times else "dim"
            )
        return table

    def _examples(self, labels: Labels) -> None:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("verdict", "asked", "answered as"):
            table.add_column(name, overflow="fold")
        table.add_column("cosine", justify="right")
        for verdict, right, style in (("wrong", False, "red"), ("right", True, "green")):
            for pair in spread(labels.pairs(right=right), EXAMPLES):
                table.add_row(Text(verdict, style=style), pair.asked, pair.answered, f"{pair.similarity:.3f}")
        if table.row_count:
            self._console.print(table)

    def _label(self, kind: Kind) -> str:
        match kind:
            case Kind.MEMORY:
                return "exact, from memory"
            case Kind.STORE:
                return f"exact, from {self._store}"
            case Kind.SEMANTIC:
                return "semantic, embedding included"
            case Kind.SHARED:
                return "shared with a request in flight"
            case Kind.UPSTREAM:
                return "upstream"

    def _size(self, entries: int | None) -> str:
        told = "" if entries is None else f", {entries:,} entries"
        if self._file is not None and self._file.exists():
            # What was written last stands in the write-ahead log.
            files = (self._file, self._file.with_name(f"{self._file.name}-wal"))
            told += f", {size(sum(file.stat().st_size for file in files if file.exists()))} on disk"
        return told

    def _farewell(self, upstream_calls: int) -> None:
        if not self._lasting:
            text = "A memory:// store ends with its process: a second run would not find these answers."
        elif upstream_calls:
            text = f"Run it again: it starts with hits from {self._store}."
        else:
            text = f"The upstream was not asked once: every answer was in {self._store} or in memory."
        self._console.print()
        self._console.print(Text(text, style="bold"))

    def _grid(self, rows: Mapping[str, str | Text]) -> None:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True, min_width=14)
        grid.add_column(overflow="fold")
        for name, value in rows.items():
            grid.add_row(name, value)
        self._console.print(grid)
