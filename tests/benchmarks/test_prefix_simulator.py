"""The simulated prefix cache does what was measured on a real vLLM server, and what its sources say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

SIMULATOR = run_path(str(Path(__file__).parents[2] / "benchmarks" / "_prefix_simulator.py"))
cache: Callable[..., Any] = SIMULATOR["BlockCache"]
tokens: Callable[[str], list[str]] = SIMULATOR["tokens"]


def prompt(first: int, length: int) -> list[int]:
    """Tokens that no prompt with another first number shares."""
    return [first * 10_000 + place for place in range(length)]


def test_the_same_prompt_again_is_known_up_to_its_last_full_block() -> None:
    replica = cache()
    assert [replica.ask(prompt(1, 302)) for _ in range(2)] == [0, 288]


def test_another_question_behind_the_same_instructions_knows_these() -> None:
    replica = cache()
    replica.ask([*prompt(1, 290), *prompt(2, 12)])
    assert replica.ask([*prompt(1, 290), *prompt(3, 16)]) == 288


def test_a_salt_keeps_equal_prompts_apart() -> None:
    replica = cache()
    assert [replica.ask(prompt(1, 302), salt=salt) for salt in "aab"] == [0, 288, 0]


def test_a_salt_is_part_of_the_whole_chain() -> None:
    replica = cache()
    replica.ask([*prompt(1, 32), *prompt(2, 64)], salt="a")
    assert replica.ask([*prompt(1, 32), *prompt(2, 64)]) == 0


@pytest.mark.parametrize(("length", "known"), [(31, 0), (32, 0), (33, 32), (64, 32), (65, 64)])
def test_the_last_token_is_always_computed(length: int, known: int) -> None:
    replica = cache()
    replica.ask(prompt(1, length))
    assert replica.ask(prompt(1, length)) == known


def test_equal_tokens_behind_other_ones_are_not_known() -> None:
    replica = cache()
    replica.ask([*prompt(1, 32), *prompt(2, 64)])
    assert replica.ask([*prompt(3, 32), *prompt(2, 64)]) == 0


def test_the_least_recently_used_prompt_goes_first() -> None:
    replica = cache(blocks=1 + 6)
    for first in (1, 2, 1, 3):
        replica.ask(prompt(first, 95))  # two full blocks and one that is not
    assert replica.ask(prompt(1, 95)) == 64
    assert replica.ask(prompt(2, 95)) == 0


def test_of_one_prompt_the_end_goes_first() -> None:
    replica = cache(blocks=1 + 6)
    replica.ask(prompt(1, 6 * 32))
    replica.ask(prompt(2, 2 * 32))
    assert replica.ask(prompt(1, 6 * 32)) == 4 * 32


def test_one_block_is_set_aside() -> None:
    assert cache(blocks=3).ask(prompt(1, 64)) == 0
    with pytest.raises(ValueError, match="a prompt of 3 blocks, where there are 2"):
        cache(blocks=3).ask(prompt(1, 65))


@pytest.mark.parametrize(("made", "known"), [(33, 32), (34, 0)])
def test_the_answer_takes_room_too_but_for_its_last_token(made: int, known: int) -> None:
    replica = cache(blocks=1 + 3)
    replica.ask(prompt(1, 64))
    replica.ask(prompt(2, 32), made=made)
    assert replica.ask(prompt(1, 64)) == known


def test_what_was_computed_for_somebody_else_is_counted() -> None:
    replica = cache()
    for owner in ("a", "a", "b"):
        replica.ask(prompt(1, 100), owner=owner)
    counted = replica.counted
    assert (counted.requests, counted.queried, counted.hit, counted.foreign) == (3, 300, 192, 96)
    assert (counted.prefilled, counted.hit_rate) == (108, 0.64)


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=12), max_size=40))
def test_with_room_for_everything_what_was_seen_is_known(prompts: list[list[int]]) -> None:
    replica = cache(block=2, blocks=1000)
    seen: set[tuple[int, ...]] = set()
    for each in prompts:
        known = 0
        while known + 2 < len(each) and tuple(each[: known + 2]) in seen:
            known += 2
        assert replica.ask(each) == known
        seen |= {tuple(each[:end]) for end in range(2, len(each) + 1, 2)}


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=12), max_size=60))
def test_no_block_is_ever_lost(prompts: list[list[int]]) -> None:
    replica = cache(block=2, blocks=1 + 6)
    for each in prompts:
        assert 0 <= replica.ask(each) < len(each)
    assert replica.ask(range(100, 112)) == 0  # takes all six


@pytest.mark.parametrize("text", ["", "Sort the tools by name.", '{"a": [1234, "x_y"]}\n', "<|im_end|>é 😀"])
def test_no_character_is_lost_between_tokens(text: str) -> None:
    assert "".join(tokens(text)) == text


def test_a_token_is_some_four_characters_of_prose() -> None:
    prose = "Large replicas keep what they have computed until another prompt needs the room it takes. " * 9
    assert 3 < len(prose) / len(tokens(prose)) < 6
