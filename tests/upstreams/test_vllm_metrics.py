"""What is read out of a vLLM server's metrics; no loop, no network."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache.upstreams._vllm_exposition import samples
from asynccache.upstreams._vllm_metrics import VLLMMetrics
from asynccache.upstreams._vllm_scrape import metrics_url

HERE = Path(__file__).parent
RECORDED = (HERE.parent / "fixtures" / "vllm-0.32" / "metrics-0.32.0.txt").read_text(encoding="utf-8")
OLD_NAMES = (HERE / "data" / "metrics-old-names.txt").read_text(encoding="utf-8")


def parsed(text: str) -> VLLMMetrics:
    metrics = VLLMMetrics.parse(text)
    assert metrics is not None
    return metrics


def test_recording_is_read_under_the_current_names() -> None:
    assert parsed(RECORDED) == VLLMMetrics(
        prefix_hits=192,
        prefix_queries=414,
        external_hits=0,
        external_queries=0,
        kv_usage=0.0,
        running=0,
        waiting=0,
        preemptions=0,
        prompt_tokens=414,
        prompt_tokens_cached=192,
        block_size=32,
        num_gpu_blocks=256,
        kv_cache_tokens=8192,
        reported_hit_ratio=None,
        created=1795365761.0535579,
    )
    assert parsed(RECORDED).hit_ratio == 192 / 414


def test_old_names_are_read_and_engines_are_added_up() -> None:
    assert parsed(OLD_NAMES) == VLLMMetrics(
        prefix_hits=240,
        prefix_queries=400,
        kv_usage=0.5,
        running=5,
        waiting=1,
        preemptions=7,
        block_size=16,
        num_gpu_blocks=2000,
        kv_cache_tokens=32_000,
        created=1.7e9,
    )
    assert parsed(OLD_NAMES).hit_ratio == 0.6


def test_both_names_of_one_thing_are_not_added_up() -> None:
    both = "vllm:prefix_cache_hits_total 10\nvllm:gpu_prefix_cache_hits_total 10\n"
    assert parsed(both).prefix_hits == 10


def test_counter_is_read_without_its_ending_too() -> None:
    assert parsed("vllm:prefix_cache_hits 3\n").prefix_hits == 3


def test_what_is_absent_is_none_and_not_zero() -> None:
    assert parsed("vllm:num_requests_running 2\n") == VLLMMetrics(running=2)
    assert parsed("vllm:num_requests_running 2\n").hit_ratio is None


def test_gauge_of_the_oldest_servers_is_the_last_resort() -> None:
    assert parsed("vllm:gpu_prefix_cache_hit_rate 0.25\n").hit_ratio == 0.25
    assert parsed("vllm:gpu_prefix_cache_hit_rate -1.0\n").hit_ratio is None


@pytest.mark.parametrize("text", ["", "# HELP x\n", "python_info 1.0\n", "<html>vllm:</html>", "vllm:x nope"])
def test_text_without_metrics_of_vllm_is_none(text: str) -> None:
    assert VLLMMetrics.parse(text) is None


def test_labels_may_hold_anything() -> None:
    line = r'vllm:x{a="with \"quotes\", } and \\ and \n", b="",} 1.5e3 1700000000000 # {t="1"} 3'
    (sample,) = samples(line, prefix="vllm:")
    assert sample.labels == {"a": 'with "quotes", } and \\ and \n', "b": ""}
    assert sample.value == 1500.0


def test_braces_may_stand_around_nothing() -> None:
    assert [sample.value for sample in samples("x{} 1\nx{ } 2\nx 3\n9 4\n", prefix="")] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "line", ["vllm:x{", 'vllm:x{a="b} 1', "vllm:x{a=b} 1", "vllm:x", "vllm:x{} ", 'vllm:x{a="b"} one']
)
def test_broken_line_is_passed_over(line: str) -> None:
    assert [sample.name for sample in samples(f"{line}\nvllm:y 1\n", prefix="vllm:")] == ["vllm:y"]


def test_value_that_is_no_number_is_passed_over() -> None:
    text = "vllm:num_requests_running NaN\nvllm:num_requests_waiting +Inf\nvllm:kv_cache_usage_perc 0.5\n"
    assert parsed(text) == VLLMMetrics(kv_usage=0.5)


@given(st.text(alphabet='vlm:x_{}=",\\ \n1.e#', max_size=200))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    VLLMMetrics.parse("vllm:" + text)


def test_difference_of_two_readings() -> None:
    earlier = VLLMMetrics(prefix_hits=100, prefix_queries=200, preemptions=1, created=5.0)
    later = VLLMMetrics(prefix_hits=190, prefix_queries=300, preemptions=3, created=5.0)
    change = later.delta(earlier)
    assert (change.prefix_hits, change.prefix_queries, change.preemptions) == (90, 100, 2)
    assert change.hit_ratio == 0.9
    assert not change.restarted


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (
            VLLMMetrics(prefix_hits=100, prefix_queries=200, created=5.0),
            VLLMMetrics(prefix_hits=300, prefix_queries=400, created=6.0),
        ),
        (VLLMMetrics(prefix_hits=301, prefix_queries=400), VLLMMetrics(prefix_hits=300, prefix_queries=400)),
        (
            VLLMMetrics(prompt_tokens=9, prefix_hits=0, prefix_queries=0),
            VLLMMetrics(prompt_tokens=8, prefix_hits=300, prefix_queries=400),
        ),
    ],
)
def test_restart_between_two_readings_counts_from_the_new_start(
    earlier: VLLMMetrics, later: VLLMMetrics
) -> None:
    change = later.delta(earlier)
    assert change.restarted
    assert (change.prefix_hits, change.prefix_queries) == (300, 400)
    assert change.hit_ratio == 0.75


def test_difference_with_an_unknown_is_unknown() -> None:
    change = VLLMMetrics(prefix_hits=5, prefix_queries=None).delta(VLLMMetrics(prefix_queries=3))
    assert change.prefix_hits is None
    assert change.prefix_queries is None
    assert change.hit_ratio is None
    idle = VLLMMetrics(prefix_hits=5, prefix_queries=9)
    assert idle.delta(idle).hit_ratio is None


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/metrics"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/metrics"),
        ("http://127.0.0.1:8000/pool/v1", "http://127.0.0.1:8000/pool/metrics"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/metrics"),
    ],
)
def test_metrics_stand_beside_the_api(base_url: str, expected: str) -> None:
    assert str(metrics_url(base_url)) == expected
