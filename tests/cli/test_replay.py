from __future__ import annotations

import gzip
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from asynccache.cli import _replay, main
from asynccache.testing.embedder import FakeEmbedder

ROOT = Path(__file__).resolve().parents[2]
NEAR = [
    {"prompt": "how do I pay a bill", "cls": "pay"},
    {"prompt": "how do I pay a bill now", "cls": "pay"},  # right
    {"prompt": "how do I dodge a bill now", "cls": "dodge"},  # wrong
    {"prompt": "how do I pay a bill", "cls": "pay"},  # the very same
    {"prompt": "quite another thing", "cls": "other"},
]
POLITE = [NEAR[0], {"prompt": "how do I pay a bill please", "cls": "pay"}]
LOOSE = ["--mode", "threshold:0.7"]


def write(name: str, lines: Sequence[Mapping[str, Any] | str], *, folder: Path) -> str:
    path = folder / name
    text = "".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in lines)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return name


def answered(line: Mapping[str, str], answer: str, **more: Any) -> dict[str, Any]:
    return {"question": line["prompt"], "answer": answer, **more}


def completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}


def figures(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["replay", "--json", *arguments]) == 0
    modes: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["modes"]
    return modes


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeEmbedder:
    """An embedder without a model, in place of any other."""
    embedder = FakeEmbedder()
    monkeypatch.setattr(_replay, "as_embedder", lambda _: embedder)
    return embedder


@pytest.mark.usefixtures("fake")
def test_semantic_hits_are_right_when_the_classes_are_equal(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write("stream.jsonl", NEAR, folder=workplace)
    loose, none = figures(capsys, file, *LOOSE, "--mode", "none")
    assert loose == {
        "mode": "threshold:0.7",
        "requests": 5,
        "exact_hits": 1,
        "semantic_hits": 2,
        "hit_rate": 0.6,
        "right": 1,
        "wrong": 1,
        "undecided": 0,
        "wrong_rate": 0.5,
        "wrong_interval": pytest.approx([0.0945, 0.9055], abs=1e-3),
        "audited": 0,
        "reported": None,
    }
    assert (none["exact_hits"], none["semantic_hits"], none["wrong_rate"]) == (1, 0, None)


@pytest.mark.usefixtures("fake")
def test_pairs_said_to_have_the_same_answer_are_right_whatever_their_classes(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write("stream.jsonl", NEAR, folder=workplace)
    one, other = NEAR[0]["prompt"], NEAR[2]["prompt"]
    same = write("same.jsonl", [{"a": f" {one}", "b": other, "same": True}], folder=workplace)
    apart = write("apart.jsonl", [{"a": one, "b": other, "same": False}], folder=workplace)
    assert [figures(capsys, file, *LOOSE, "--same", each)[0]["wrong"] for each in (same, apart)] == [0, 1]


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("form", ["question", "messages", "request"])
def test_log_is_judged_by_its_answers_in_whichever_form_they_stand(
    workplace: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    answers = [
        "Pay it in the app.",
        "Pay it in the app.",
        "No, that is not allowed.",
        "Pay it in the app.",
        "Ok.",
    ]
    lines: list[dict[str, Any]] = []
    for line, answer in zip(NEAR, answers, strict=True):
        messages = [{"role": "user", "content": line["prompt"]}]
        lines.append(
            {
                "question": answered(line, answer, time="2026-01-01"),
                "messages": {"messages": messages, "answer": answer},
                "request": {
                    "request": {"model": "m", "messages": messages, "stream": True},
                    "response": completion(answer),
                },
            }[form]
        )
    (loose,) = figures(capsys, write("log.jsonl", lines, folder=workplace), *LOOSE)
    assert (loose["exact_hits"], loose["semantic_hits"], loose["right"], loose["wrong"]) == (1, 2, 1, 1)


@pytest.mark.usefixtures("fake")
def test_answers_the_judge_can_tell_nothing_of_are_counted_apart(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [answered(NEAR[0], "Pay it in the app."), answered(NEAR[1], "I don't know.")]
    file = write("log.jsonl", lines, folder=workplace)
    (loose,) = figures(capsys, file, *LOOSE)
    assert (loose["semantic_hits"], loose["undecided"], loose["wrong_rate"]) == (1, 1, None)
    assert main(["replay", file, *LOOSE]) == 0
    heading, line, *_, meaning = capsys.readouterr().out.splitlines()
    assert "  undecided  " in heading
    assert "what it cannot decide is in neither figure" in meaning
    assert line.split() == ["threshold:0.7", "2", "0", "1", "50.0%", "1"]
    (letters,) = figures(capsys, file, *LOOSE, "--judge", "labels")
    assert (letters["wrong"], letters["undecided"]) == (1, 0)


@pytest.mark.usefixtures("fake")
def test_scope_model_and_instructions_keep_requests_apart(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [{"tenant": "t"}, {"user": "u"}, {"namespace": "n"}, {"model": "m"}, {"system": "Be brief."}, {}]
    lines = [answered(NEAR[0], "Yes.", **each) for each in (*others, {"tenant": "t"})]
    (none,) = figures(capsys, write("log.jsonl", lines, folder=workplace), "--mode", "none")
    assert (none["requests"], none["exact_hits"]) == (7, 1)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("text", ["Yes.", "No."])
def test_exact_repeat_gets_the_answer_stored_first(
    workplace: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    lines = [answered(NEAR[0], "Yes."), answered(NEAR[0], text), answered(NEAR[1], "Yes.")]
    (loose,) = figures(capsys, write("log.jsonl", lines, folder=workplace), *LOOSE)
    assert (loose["exact_hits"], loose["right"]) == (1, 1)


def test_vectors_of_questions_are_made_once_for_all_modes(
    workplace: Path, fake: FakeEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write("stream.jsonl", NEAR, folder=workplace)
    modes = figures(capsys, file)
    assert [each["mode"] for each in modes] == [
        "promise:0.01",
        "promise:0.02",
        "promise:0.05",
        "threshold:0.7",
        "threshold:0.8",
        "threshold:0.92",
        "threshold:0.95",
        "vcache:0.02",
        "none",
    ]
    asked = [text for call in fake.calls for text in call]
    assert sorted(asked) == sorted({each["prompt"] for each in NEAR})


@pytest.mark.usefixtures("fake")
def test_shadow_shows_what_the_promise_would_have_served(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # With half of its hits allowed to be wrong, the promise serves from the start.
    file = write("stream.jsonl", POLITE, folder=workplace)
    promise, shadow = figures(capsys, file, "--mode", "promise:0.5", "--mode", "shadow:0.5")
    assert promise["semantic_hits"] == shadow["semantic_hits"] == promise["right"] == shadow["right"] == 1
    assert promise["reported"]["labels"] == 0
    assert shadow["reported"]["labels"] == 1  # it was a miss, and a miss teaches
    assert main(["replay", file, "--mode", "shadow:0.5"]) == 0
    assert "would have served" in capsys.readouterr().out


@pytest.mark.usefixtures("fake")
def test_audits_compare_hits_with_the_answer_that_was_recorded(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write("stream.jsonl", POLITE, folder=workplace)
    (promise,) = figures(capsys, file, "--mode", "promise:0.5", "--audit", "1")
    assert promise["audited"] == promise["semantic_hits"] == promise["reported"]["labels"] == 1


def test_bundled_model_and_what_the_promise_says_of_itself(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = ["How do I reset my PIN?", "I forgot my PIN", "What is the exchange rate?", "Reset my PIN please"]
    lines = [{"prompt": f"{way} {number}", "cls": way} for number in ("", "today") for way in ways]
    file = write("stream.jsonl", lines, folder=workplace)
    assert main(["replay", file, "--mode", "promise:0.05", "--mode", "threshold:0.95"]) == 0
    printed = capsys.readouterr()
    heading, promise, threshold, empty, meaning = printed.out.splitlines()
    assert [each.strip() for each in heading.split("  ") if each] == [
        "mode",
        "requests",
        "exact hits",
        "semantic hits",
        "hit rate",
        "wrong semantic hits",
        "limit",
        "wrong, as reported",
    ]
    assert promise.split()[:2] == ["promise:0.05", "8"]
    assert threshold.split()[:2] == ["threshold:0.95", "8"]
    assert not empty
    assert "does not say what other traffic would get" in meaning
    assert printed.err == ""
    (again,) = figures(capsys, file, "--mode", "promise:0.05")
    (limit,) = again["reported"]["limits"]
    assert limit["namespace"] is None
    assert limit["closed"] is (limit["limit"] is None)


@pytest.mark.usefixtures("fake")
def test_no_text_is_printed_unless_examples_are_asked_for(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {"prompt": "how do I pay a\nbill", "cls": "pay"},
        {"prompt": "how do I pay a\nbill \x1b[31m" + "now" * 100, "cls": "secret"},
    ]
    file = write("stream.jsonl", lines, folder=workplace)
    assert main(["replay", file, *LOOSE]) == 0
    printed = capsys.readouterr().out
    assert "bill" not in printed
    assert "secret" not in printed
    assert "examples" not in figures(capsys, file, *LOOSE)[0]
    assert main(["replay", file, *LOOSE, "--examples", "3"]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "secret" not in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("0.")]
    assert " how do I pay a bill  [31mnownow" in line
    assert line.endswith("…  <-  how do I pay a bill")
    (example,) = figures(capsys, file, *LOOSE, "--examples", "3")[0]["examples"]
    assert example["answered"] == "how do I pay a\nbill"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"question": "secret", "answer": 3}', "answer: expected text, got a number"),
        ('{"question": "", "answer": "a"}', "question: expected text, got an empty text"),
        ('{"answer": "a"}', "question: is not there"),
        ('{"question": "secret", "answer": "a", "tenant": ["t"]}', "tenant: expected text, got a list"),
        ('{"question": "secret", "answer": "a"', "not a JSON object"),
        ('["secret"]', "not a JSON object"),
        ('{"question": "secret\\ud800", "answer": "a"}', "not a JSON object"),
    ],
)
def test_bad_line_refuses_the_file_before_anything_runs(
    workplace: Path, fake: FakeEmbedder, capsys: pytest.CaptureFixture[str], line: str, told: str
) -> None:
    good = answered(NEAR[0], "Yes.")
    file = write("log.jsonl", [good, "", line, good], folder=workplace)
    assert main(["replay", file, *LOOSE]) == 1
    printed = capsys.readouterr()
    assert printed == ("", f"asynccache: log.jsonl, line 3: {told}\n")
    assert fake.calls == []
    (loose,) = figures(capsys, file, *LOOSE, "--skip-bad")
    assert (loose["requests"], loose["exact_hits"]) == (2, 1)
    assert main(["replay", file, *LOOSE, "--skip-bad"]) == 0
    assert "1 bad line was left out.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"prompt": "p"}, "cls: is not there, though prompt is"),
        ({"question": "q", "reply": "a"}, "answer: is not there, though question is"),
        ({"text": "secret"}, "of no known form; expected the fields prompt and cls, question and answer, "),
        ({"messages": [{"role": "user"}], "answer": 1}, "answer: expected text, got a number"),
        ({"messages": "secret", "answer": "a"}, "messages: "),
        ({"request": "secret", "response": {}}, "request: expected an object, got text"),
        (
            {"request": {"messages": "secret"}, "response": {"error": "secret"}},
            "response: not a chat completion",
        ),
        (
            {"request": {"messages": [{"role": "user", "content": "q"}]}, "response": {"choices": []}},
            "response.choices: expected",
        ),
    ],
)
def test_first_line_says_what_the_file_is_or_what_it_lacks(
    workplace: Path, capsys: pytest.CaptureFixture[str], line: dict[str, Any], told: str
) -> None:
    assert main(["replay", write("log.jsonl", [line], folder=workplace)]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"asynccache: log.jsonl, line 1: {told}")
    assert "secret" not in printed
    assert printed.count("\n") == 1


@pytest.mark.usefixtures("fake")
def test_gzip_standard_input_and_limit(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = write("stream.jsonl.gz", NEAR, folder=workplace)
    plain = write("stream.jsonl", NEAR, folder=workplace)
    expected = figures(capsys, plain, *LOOSE)
    assert figures(capsys, packed, *LOOSE) == expected
    for name in (packed, plain):
        monkeypatch.setattr(
            sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(Path(name).read_bytes())))
        )
        assert figures(capsys, "-", *LOOSE) == expected
    assert figures(capsys, plain, *LOOSE, "--limit", "2")[0]["requests"] == 2


def test_file_that_holds_nothing_or_is_damaged_is_one_sentence(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "empty.jsonl").touch()
    packed = gzip.compress(b'{"prompt": "p", "cls": "c"}\n' * 10_000)
    (workplace / "short.gz").write_bytes(packed[: len(packed) // 2])
    for name, told in (
        ("empty.jsonl", "empty.jsonl: holds no request"),
        ("short.gz", "short.gz: a damaged gzip file"),
        ("none.jsonl", "none.jsonl: No such file or directory"),
    ):
        assert main(["replay", name]) == 1
        assert capsys.readouterr().err == f"asynccache: {told}\n"


def test_pairs_are_of_no_use_to_a_log(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = write("same.jsonl", [{"a": "a", "b": "b", "same": "yes"}], folder=workplace)
    log = write("log.jsonl", [answered(NEAR[0], "Yes.")], folder=workplace)
    assert main(["replay", log, "--same", same]) == 1
    assert capsys.readouterr().err.startswith("asynccache: --same: a log has answers")
    assert main(["replay", write("stream.jsonl", NEAR, folder=workplace), "--same", same]) == 1
    assert capsys.readouterr().err == "asynccache: same.jsonl, line 1: same: expected true or false\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--mode", "guess:0.5"], "unknown mode 'guess:0.5'; known: promise:SHARE, threshold:COSINE, "),
        (["--mode", "promise"], "unknown mode 'promise'"),
        (["--mode", "promise:1"], "'promise:1': expected a share above 0 and below 1"),
        (["--mode", "threshold:x"], "'threshold:x': expected a cosine from 0 to 1"),
        (["--audit", "2"], "expected a share from 0 to 1"),
        (["--backend", "memory://"], "it takes no --backend"),
        (["--same", "-"], "standard input"),
        (["--same", "x", "--judge", "builtin"], "says nothing with --judge builtin"),
    ],
)
def test_wrong_usage_of_replay_is_told(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["replay", "-", *arguments])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_nothing_is_written(workplace: Path, fake: FakeEmbedder, capsys: pytest.CaptureFixture[str]) -> None:
    file = write("stream.jsonl", NEAR, folder=workplace)
    assert figures(capsys, file)
    assert fake.calls
    assert [each.name for each in workplace.iterdir()] == [file]
    assert not (workplace.parent / "cache").exists()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("library", ["fastembed", "numpy"])
def test_without_the_semantic_packages_it_says_what_to_install(workplace: Path, library: str) -> None:
    file = write("stream.jsonl", NEAR, folder=workplace)
    script = f"import sys; sys.modules[{library!r}] = None\nfrom asynccache.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "replay", file],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert library in done.stderr
    assert 'pip install "asynccache[semantic]"' in done.stderr


@pytest.mark.parametrize("with_rich", [True, False])
def test_terminal_is_shown_a_bar_on_standard_error(workplace: Path, with_rich: bool) -> None:
    file = write("stream.jsonl", NEAR, folder=workplace)
    hidden = "" if with_rich else "sys.modules['rich'] = sys.modules['rich.console'] = None;"
    script = f"import sys; {hidden}\nfrom asynccache.cli import main; sys.exit(main())"
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, "replay", file, *LOOSE],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**environment(), "TERM": "xterm"},
    ) as run:
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        assert run.stdout is not None
        printed = run.stdout.read()
    os.close(ours)
    assert run.returncode == 0
    assert (b"threshold:0.7" in shown and b"5/5" in shown) is with_rich
    assert b"threshold:0.7" in printed
    assert b"\x1b" not in printed


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 2**16)
    except OSError:  # Linux: the other side has closed
        return b""
